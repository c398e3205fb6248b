// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// A journal in memory, as exact as a real one, that tests can break.
//
// Thread safety: thread-safe.

#ifndef STEPD_TESTS_FAKES_FAKE_JOURNAL_H_
#define STEPD_TESTS_FAKES_FAKE_JOURNAL_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/common/mutex.h"
#include "server/engine/journal.h"

namespace stepd {

class FakeJournal : public Journal {
 public:
  absl::StatusOr<std::vector<JournalOutcome>> Append(
      absl::Span<const JournalEntry> entries, MonotonicTime deadline) override;
  absl::StatusOr<std::optional<SessionRecord>> Read(
      absl::string_view actor_id, MonotonicTime deadline) override;

  // What every call returns from now on, unless it is OK.
  void Break(absl::Status status);
  // As if another server had written the actor's session.
  void TakeOver(const std::string& actor_id);
  void Forget(const std::string& actor_id);
  // Whatever the actor had.
  void Put(const SessionRecord& record);
  int num_appends() const;
  std::map<std::string, SessionRecord> sessions() const;

 private:
  JournalOutcome Write(const JournalEntry& entry)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  mutable Mutex mu_;
  absl::Status broken_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, SessionRecord> sessions_ ABSL_GUARDED_BY(mu_);
  std::string taken_over_ ABSL_GUARDED_BY(mu_);
  int num_appends_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace stepd

#endif  // STEPD_TESTS_FAKES_FAKE_JOURNAL_H_
