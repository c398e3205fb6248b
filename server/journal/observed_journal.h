// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// A journal that tells how long its calls take and whether they fail.
//
// Thread safety: thread-safe.

#ifndef STEPD_SERVER_JOURNAL_OBSERVED_JOURNAL_H_
#define STEPD_SERVER_JOURNAL_OBSERVED_JOURNAL_H_

#include <chrono>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "server/common/clock.h"
#include "server/engine/journal.h"
#include "server/journal/journal_events.h"

namespace stepd {

class ObservedJournal final : public Journal {
 public:
  // `events` must outlive it.
  ObservedJournal(std::unique_ptr<Journal> journal, JournalEvents* events)
      : journal_(std::move(journal)), events_(*events) {}

  absl::StatusOr<std::vector<JournalOutcome>> Append(
      absl::Span<const JournalEntry> entries, MonotonicTime deadline) override {
    const MonotonicTime start = std::chrono::steady_clock::now();
    auto outcomes = journal_->Append(entries, deadline);
    Tell(JournalCall::kAppend, start, outcomes.status());
    return outcomes;
  }

  absl::StatusOr<std::optional<SessionRecord>> Read(
      absl::string_view actor_id, MonotonicTime deadline) override {
    const MonotonicTime start = std::chrono::steady_clock::now();
    auto session = journal_->Read(actor_id, deadline);
    Tell(JournalCall::kRead, start, session.status());
    return session;
  }

 private:
  void Tell(JournalCall call, MonotonicTime start, const absl::Status& status) {
    events_.OnJournalCall(call, std::chrono::steady_clock::now() - start,
                          status);
  }

  const std::unique_ptr<Journal> journal_;
  JournalEvents& events_;
};

}  // namespace stepd

#endif  // STEPD_SERVER_JOURNAL_OBSERVED_JOURNAL_H_
