// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Connections to one Redis server, made by a thread of the pool's own: looking
// a host up, connecting and logging in delay no caller beyond its deadline, and
// while the server is away callers are told so at once.
//
// Thread safety: thread-safe.

#ifndef STEPD_SERVER_JOURNAL_REDIS_POOL_H_
#define STEPD_SERVER_JOURNAL_REDIS_POOL_H_

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/common/clock.h"
#include "server/common/mutex.h"
#include "server/journal/redis_connection.h"

namespace stepd {

class RedisPool {
 public:
  struct Options {
    RedisAddress address;
    std::string password;              // empty: the server wants none
    std::vector<std::string> scripts;  // that every connection loads, in order
  };
  explicit RedisPool(Options options);
  ~RedisPool();
  RedisPool(const RedisPool&) = delete;
  RedisPool& operator=(const RedisPool&) = delete;

  // A connection that answered when it was made.
  // Errors: kUnavailable       the last attempt to connect failed
  //         kDeadlineExceeded  the attempt that is under way takes too long
  absl::StatusOr<std::unique_ptr<RedisConnection>> Take(MonotonicTime deadline)
      ABSL_LOCKS_EXCLUDED(mu_);
  // Of a connection that works.
  void Return(std::unique_ptr<RedisConnection> connection)
      ABSL_LOCKS_EXCLUDED(mu_);
  // Of one that does not: neither do the others, then.
  void Drop(std::unique_ptr<RedisConnection> connection)
      ABSL_LOCKS_EXCLUDED(mu_);

 private:
  void Run() ABSL_LOCKS_EXCLUDED(mu_);
  absl::StatusOr<std::unique_ptr<RedisConnection>> Connect() const;

  const Options options_;

  Mutex mu_;
  std::vector<std::unique_ptr<RedisConnection>> idle_ ABSL_GUARDED_BY(mu_);
  std::size_t num_waiting_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Status error_ ABSL_GUARDED_BY(mu_);  // why there is no connection
  bool is_stopping_ ABSL_GUARDED_BY(mu_) = false;
  CondVar has_changed_;
  CondVar is_wanted_;

  std::thread thread_;  // last: it uses all of the above
};

}  // namespace stepd

#endif  // STEPD_SERVER_JOURNAL_REDIS_POOL_H_
