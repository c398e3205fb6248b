// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// One connection to a Redis server, and calls on it that end by a deadline.
//
// Thread safety: none; one call at a time.

#ifndef STEPD_SERVER_JOURNAL_REDIS_CONNECTION_H_
#define STEPD_SERVER_JOURNAL_REDIS_CONNECTION_H_

#include <hiredis/hiredis.h>

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "server/common/clock.h"

namespace stepd {

struct RedisAddress {
  std::string host;  // a path if port is 0
  int port = 0;
};

// "HOST:PORT" or "unix:PATH".
// Errors: kInvalidArgument  it is neither
absl::StatusOr<RedisAddress> ParseRedisAddress(absl::string_view text);

struct FreeRedisReply {
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};
using RedisReply = std::unique_ptr<redisReply, FreeRedisReply>;

class RedisConnection {
 public:
  // Looks the host up, which may take longer than any deadline.
  // Errors: kUnavailable
  static absl::StatusOr<std::unique_ptr<RedisConnection>> Open(
      const RedisAddress& address);

  // One command, the words of which may hold any bytes. Never returns later
  // than `deadline`, and never an error reply.
  // Errors: kDeadlineExceeded    no answer in time
  //         kUnavailable         the connection is lost
  //         kFailedPrecondition  the server answers with an error, which is
  //                              the message
  // After any of the first two the connection is of no more use.
  absl::StatusOr<RedisReply> Call(absl::Span<const absl::string_view> words,
                                  MonotonicTime deadline);

  // Gives the server a script to keep. Errors: as Call().
  absl::Status LoadScript(absl::string_view script, MonotonicTime deadline);
  // What EVALSHA calls the script that was loaded as number `i`.
  absl::string_view script_id(std::size_t i) const { return script_ids_[i]; }

 private:
  struct FreeContext {
    void operator()(redisContext* context) const { redisFree(context); }
  };
  using ContextPtr = std::unique_ptr<redisContext, FreeContext>;

  explicit RedisConnection(ContextPtr context) : context_(std::move(context)) {}
  absl::Status Send(absl::string_view bytes, MonotonicTime deadline) const;
  absl::Status Lost() const;
  absl::Status WaitFor(short events, MonotonicTime deadline) const;

  const ContextPtr context_;
  std::vector<std::string> script_ids_;
};

}  // namespace stepd

#endif  // STEPD_SERVER_JOURNAL_REDIS_CONNECTION_H_
