// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// An executor's use of a journal, or of none.
//
// Thread safety: none; one executor owns it.

#ifndef STEPD_SERVER_ENGINE_EXECUTOR_JOURNAL_H_
#define STEPD_SERVER_ENGINE_EXECUTOR_JOURNAL_H_

#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "server/common/clock.h"
#include "server/engine/journal.h"
#include "server/engine/session_record.h"
#include "server/engine/work.h"

namespace stepd {

class ExecutorJournal {
 public:
  // Both must outlive it; no journal: nullptr.
  ExecutorJournal(Journal* journal, const Clock* clock)
      : journal_(journal), clock_(*clock) {}

  bool exists() const { return journal_ != nullptr; }

  // Writes the steps of `works`, which are computed and not yet steps of their
  // sessions. Gives one status for each.
  // Errors of a work: kUnavailable  JOURNAL: not written, or nobody can say; or
  //                                 another server has the session now, and
  //                                 `work->is_taken_over` is set
  std::vector<absl::Status> Write(absl::Span<Work* const> works);

  // The actor has no session any more; nothing to do without a journal.
  // Errors: kUnavailable  JOURNAL
  absl::Status Erase(absl::string_view actor_id);
  // The actor's session is this one.
  // Errors: kUnavailable  JOURNAL
  absl::Status Replace(const SessionRecord& record);

  // nullopt: it has none.
  // Errors: as Journal::Read()
  absl::StatusOr<std::optional<SessionRecord>> Read(absl::string_view actor_id);

 private:
  MonotonicTime Deadline() const;
  absl::Status WriteOne(const JournalEntry& entry);

  Journal* const journal_;
  const Clock& clock_;
};

}  // namespace stepd

#endif  // STEPD_SERVER_ENGINE_EXECUTOR_JOURNAL_H_
