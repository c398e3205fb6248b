// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// A network between a client and a server on sockets of this machine, which can
// keep what the client sends on its way for a while.
//
// Thread safety: thread-safe.

#ifndef STEPD_TESTS_SERVER_JOURNAL_HOLDING_PROXY_H_
#define STEPD_TESTS_SERVER_JOURNAL_HOLDING_PROXY_H_

#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "server/common/mutex.h"

namespace stepd {

class HoldingProxy {
 public:
  // Listens on the socket `path` and connects to the one at `server`.
  HoldingProxy(std::string path, std::string server);
  ~HoldingProxy();
  HoldingProxy(const HoldingProxy&) = delete;
  HoldingProxy& operator=(const HoldingProxy&) = delete;

  // What clients send on the connections that are open now stays on its way
  // (even if they hang up), until Release(), which returns when the server has
  // answered all of it.
  void Hold() ABSL_LOCKS_EXCLUDED(mu_);
  void Release() ABSL_LOCKS_EXCLUDED(mu_);
  // Returns when something is held.
  void AwaitHeld() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Connection {
    int client = -1;  // -1: it hung up
    int server = -1;
    bool is_held = false;
    std::string held;
  };

  void Run() ABSL_LOCKS_EXCLUDED(mu_);
  void Accept() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void FromClient(Connection* connection) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void FromServer(Connection* connection) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::string server_;
  int listening_ = -1;
  int wake_[2] = {-1, -1};

  Mutex mu_;
  CondVar has_changed_;
  std::vector<Connection> connections_ ABSL_GUARDED_BY(mu_);
  int num_answers_ ABSL_GUARDED_BY(mu_) = 0;  // to what was held
  bool is_stopping_ ABSL_GUARDED_BY(mu_) = false;

  std::thread thread_;  // last: it uses all of the above
};

}  // namespace stepd

#endif  // STEPD_TESTS_SERVER_JOURNAL_HOLDING_PROXY_H_
