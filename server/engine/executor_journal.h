// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// An executor's use of a journal, or of none: then nothing here does anything.
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
#include "server/engine/session.h"
#include "server/engine/session_record.h"
#include "server/engine/session_store.h"
#include "server/engine/work.h"

namespace stepd {

class ExecutorJournal {
 public:
  // All must outlive it; no journal: nullptr.
  ExecutorJournal(Journal* journal, SessionStore* store, const Clock* clock)
      : journal_(journal), store_(*store), clock_(*clock) {}

  bool exists() const { return journal_ != nullptr; }

  // Writes the steps of `works`, which are computed and not yet steps of their
  // sessions. Sets the status of each.
  // Errors of a work: kUnavailable  JOURNAL: not written, or nobody can say; or
  //                                 another server has the session now, and
  //                                 `work->is_taken_over` is set
  void Write(absl::Span<Work* const> works);

  // The actor has no session any more.
  // Errors: kUnavailable  JOURNAL
  absl::Status Erase(absl::string_view actor_id);
  // The actor's session is this one.
  // Errors: kUnavailable  JOURNAL
  absl::Status Replace(const SessionRecord& record);

  // The actor's session; nullopt: it has none.
  // Errors: as Journal::Read()
  absl::StatusOr<std::optional<SessionRecord>> Read(absl::string_view actor_id);

  // A session that is not in memory may be in the journal: it becomes what it
  // was, if the journal was not asked before.
  // Errors: as Journal::Read(), SessionStore::Import()
  absl::Status LookUp(Session* session);
  // Another server may have gone on with the session: it becomes what the
  // journal has, if that is later.
  // Errors: as LookUp()
  absl::Status Refresh(Session* session);

 private:
  MonotonicTime Deadline() const;
  absl::Status Restore(const SessionRecord& record, Session* session);
  absl::Status WriteOne(const JournalEntry& entry);

  Journal* const journal_;
  SessionStore& store_;
  const Clock& clock_;
  std::vector<JournalEntry> entries_;  // kept for their memory
};

}  // namespace stepd

#endif  // STEPD_SERVER_ENGINE_EXECUTOR_JOURNAL_H_
