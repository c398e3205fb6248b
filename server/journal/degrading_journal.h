// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// A journal that never fails an append: while the one below it does, steps are
// acknowledged without being written, and a thread of its own tries again. What
// was missed is made good when it is back: sessions that ended meanwhile are
// erased, and those that went on are behind (JournalOutcome::kBehind).
//
// While degraded it has no session of anybody. A process that ends then takes
// with it what it had not written.
//
// Thread safety: thread-safe.

#ifndef STEPD_SERVER_JOURNAL_DEGRADING_JOURNAL_H_
#define STEPD_SERVER_JOURNAL_DEGRADING_JOURNAL_H_

#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "server/common/clock.h"
#include "server/common/mutex.h"
#include "server/engine/journal.h"
#include "server/journal/journal_events.h"

namespace stepd {

class DegradingJournal final : public Journal {
 public:
  // `events` must outlive it.
  DegradingJournal(std::unique_ptr<Journal> journal, JournalEvents* events);
  ~DegradingJournal() override;
  DegradingJournal(const DegradingJournal&) = delete;
  DegradingJournal& operator=(const DegradingJournal&) = delete;

  absl::StatusOr<std::vector<JournalOutcome>> Append(
      absl::Span<const JournalEntry> entries, MonotonicTime deadline) override
      ABSL_LOCKS_EXCLUDED(mu_);
  // Errors: kDataLoss only
  absl::StatusOr<std::optional<SessionRecord>> Read(
      absl::string_view actor_id, MonotonicTime deadline) override
      ABSL_LOCKS_EXCLUDED(mu_);

 private:
  // Those of the entries that can be written now; the outcomes of the others.
  std::vector<JournalEntry> Writable(absl::Span<const JournalEntry> entries,
                                     std::vector<JournalOutcome>* outcomes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void NoteWritten(absl::Span<const JournalEntry> entries)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void NoteMissed(absl::Span<const JournalEntry> entries)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Degrade(const absl::Status& cause) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // The thread.
  void Run() ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status EraseEnded() ABSL_LOCKS_EXCLUDED(mu_);

  const std::unique_ptr<Journal> journal_;
  JournalEvents* const events_;

  Mutex mu_;
  bool is_degraded_ ABSL_GUARDED_BY(mu_) = false;
  // Actors of whose sessions the journal lacks steps.
  absl::flat_hash_set<std::string> behind_ ABSL_GUARDED_BY(mu_);
  // Actors whose sessions ended unnoticed by the journal.
  absl::flat_hash_set<std::string> ended_ ABSL_GUARDED_BY(mu_);
  bool is_stopping_ ABSL_GUARDED_BY(mu_) = false;
  CondVar has_changed_;

  std::thread thread_;  // last: it uses all of the above
};

}  // namespace stepd

#endif  // STEPD_SERVER_JOURNAL_DEGRADING_JOURNAL_H_
