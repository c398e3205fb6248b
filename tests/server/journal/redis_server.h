// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// A real redis-server of a test's own, on a socket in a folder of its own. It
// aborts the test where there is none.
//
// Thread safety: none.

#ifndef STEPD_TESTS_SERVER_JOURNAL_REDIS_SERVER_H_
#define STEPD_TESTS_SERVER_JOURNAL_REDIS_SERVER_H_

#include <sys/types.h>

#include <initializer_list>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace stepd {

class RedisServer {
 public:
  // `folder` holds the socket and, with `is_durable`, every write, so that
  // Stop() and Start() lose nothing.
  explicit RedisServer(std::string folder, bool is_durable = false);
  ~RedisServer();
  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;

  const std::string& socket() const { return socket_; }
  std::string address() const { return "unix:" + socket_; }

  // Returns when it answers.
  void Start();
  // Returns when it is gone.
  void Stop();
  // It takes connections and bytes, and does nothing, until Continue().
  void Pause();
  void Continue();

  // Runs a command on a connection of its own; the elements of its answer.
  std::vector<std::string> Run(std::initializer_list<absl::string_view> words);

 private:
  const std::string folder_;
  const std::string socket_;
  const bool is_durable_;
  pid_t process_ = 0;
};

}  // namespace stepd

#endif  // STEPD_TESTS_SERVER_JOURNAL_REDIS_SERVER_H_
