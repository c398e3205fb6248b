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
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "server/common/clock.h"
#include "server/engine/encoded_steps.h"
#include "server/engine/session_record.h"

namespace stepd {

// All of these borrow for the duration of Append().

// One task's steps, at the end of its session's log. Steps that the journal has
// from `step_index` on were never acknowledged; these take their place.
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

// What became of an entry.
enum class JournalOutcome : std::uint8_t {
  kWritten,
  // Only of steps. Not written: the journal lacks steps before these, because
  // it was emptied or could not be reached when they came. A JournalReplace of
  // the session with these steps puts it right.
  kBehind,
  // Only of steps. Not written: another server has written this session since.
  // What this one has of it is out of date: forget it, and Read() again.
  kTakenOver,
};

class Journal {
 public:
  virtual ~Journal() = default;

  // Writes the entries, as durably as the journal is configured to, in one go.
  // Entries are of different actors. Gives what became of each.
  // Errors: kUnavailable  JOURNAL: it cannot be said whether any entry was
  //                       written, and it may still be; later entries of the
  //                       same actor take its place
  virtual absl::StatusOr<std::vector<JournalOutcome>> Append(
      absl::Span<const JournalEntry> entries, MonotonicTime deadline) = 0;

  // The actor's session as of its last entry, which is this server's to write
  // from now on; nullopt: it has none.
  // Errors: kUnavailable  JOURNAL: the journal cannot be asked
  //         kDataLoss     JOURNAL: what it has of the session is damaged, or
  //                       was written for other fields; a JournalErase
  //                       ends it
  virtual absl::StatusOr<std::optional<SessionRecord>> Read(
      absl::string_view actor_id, MonotonicTime deadline) = 0;
};

}  // namespace stepd

#endif  // STEPD_SERVER_ENGINE_JOURNAL_H_
