// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// A journal in a Redis server (6 or newer, no cluster), which servers of the
// same model share: any of them can take a session over. How durable it is, the
// Redis server's own settings say.
//
// A session is one hash, stepd:NAME:ACTOR, that a script changes as a whole:
//
//   o   the server that may write it      n   its number of steps
//   q   the last of that server's calls   w   the first step of its context
//   i   record of the session's inputs    7   record of the task after which
//                                             it had 7 steps
//
// Reading a session makes it the reader's: what its last owner still sends is
// refused, and so is a call of one's own that arrives late, after one that was
// sent later. An erased session leaves o and q for a while, for the same
// reason.
//
// Thread safety: thread-safe.

#ifndef STEPD_SERVER_JOURNAL_REDIS_JOURNAL_H_
#define STEPD_SERVER_JOURNAL_REDIS_JOURNAL_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/engine/journal.h"

namespace stepd {

struct RedisJournalOptions {
  std::string address;       // HOST:PORT or unix:PATH
  std::string password;      // empty: none
  std::string name;          // of the model
  std::uint64_t fields = 0;  // FieldsFingerprint() of the policy
  // Sessions that nobody wrote for so long are dropped.
  absl::Duration ttl = absl::InfiniteDuration();
};

// The server need not be there yet.
// Errors: kInvalidArgument  the address is none
absl::StatusOr<std::unique_ptr<Journal>> MakeRedisJournal(
    const RedisJournalOptions& options);

}  // namespace stepd

#endif  // STEPD_SERVER_JOURNAL_REDIS_JOURNAL_H_
