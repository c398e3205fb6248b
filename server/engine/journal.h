// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Where sessions outlive the process. An executor writes the steps of a batch
// before they become steps of their sessions and before their replies leave,
// and asks for a session that it does not have.
//
// Thread safety: thread-safe; every executor calls it from its own thread. The
// entries of one actor come from one executor, in order. Calls block, at most
// until their deadline.

#ifndef STEPD_SERVER_ENGINE_JOURNAL_H_
#define STEPD_SERVER_ENGINE_JOURNAL_H_

#include <cstdint>
#include <optional>
#include <variant>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "server/common/clock.h"
#include "server/engine/encoded_steps.h"
#include "server/engine/session_record.h"

namespace stepd {

// All of these borrow for the duration of Append().

// One task's steps, at the end of its session's log.
struct JournalSteps {
  absl::string_view actor_id;
  std::uint64_t epoch = 0;
  // Steps that the session had before; 0 opens the session.
  std::uint64_t step_index = 0;
  const EncodedSteps* steps = nullptr;
  // Of the session; given with the entry that opens it, else empty.
  absl::string_view session_inputs;
  // Index of the first step of the context: earlier ones may be forgotten.
  std::uint64_t first_step = 0;
  // The task and its reply; nullptr if it had no step index. Then the one
  // before is void.
  const AnsweredTask* answered = nullptr;
};

// The whole session, in place of whatever the actor had.
struct JournalReplace {
  const SessionRecord* record = nullptr;
};

// The actor has no session any more.
struct JournalErase {
  absl::string_view actor_id;
};

using JournalEntry = std::variant<JournalSteps, JournalReplace, JournalErase>;

class Journal {
 public:
  virtual ~Journal() = default;

  // Writes every entry, as durably as it is configured to, in one go. Entries
  // are of different actors.
  // Errors: kUnavailable  JOURNAL: it cannot be said whether an entry was
  //                       written; if it was, writing it again changes nothing
  virtual absl::Status Append(absl::Span<const JournalEntry> entries,
                              MonotonicTime deadline) = 0;

  // The actor's session as of its last entry; nullopt: it has none.
  // Errors: kUnavailable  JOURNAL: the journal cannot be asked
  //         kDataLoss     JOURNAL: what it has of the session is damaged, or
  //                       was written for other fields
  virtual absl::StatusOr<std::optional<SessionRecord>> Read(
      absl::string_view actor_id, MonotonicTime deadline) = 0;
};

}  // namespace stepd

#endif  // STEPD_SERVER_ENGINE_JOURNAL_H_
