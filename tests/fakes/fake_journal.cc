// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/fakes/fake_journal.h"

#include <cstddef>
#include <utility>
#include <variant>

namespace stepd {
namespace {

void Apply(const JournalSteps& steps, SessionRecord* record) {
  SessionRecord next;
  next.actor_id = std::string(steps.actor_id);
  next.epoch = steps.epoch;
  next.session_inputs = steps.step_index == 0
                            ? std::string(steps.session_inputs)
                            : record->session_inputs;
  next.first_step = steps.first_step;
  for (std::uint64_t i = steps.first_step; i < steps.step_index; ++i) {
    next.steps.Append(record->steps[i - record->first_step]);
  }
  for (std::size_t i = 0; i < steps.steps->size(); ++i) {
    if (steps.step_index + i < steps.first_step) continue;
    next.steps.Append((*steps.steps)[i]);
  }
  if (steps.answered != nullptr) next.answered = *steps.answered;
  *record = std::move(next);
}

}  // namespace

absl::StatusOr<std::vector<JournalOutcome>> FakeJournal::Append(
    absl::Span<const JournalEntry> entries, MonotonicTime /*deadline*/) {
  MutexLock lock(&mu_);
  if (!broken_.ok()) return broken_;
  ++num_appends_;
  std::vector<JournalOutcome> outcomes;
  for (const JournalEntry& entry : entries) outcomes.push_back(Write(entry));
  return outcomes;
}

JournalOutcome FakeJournal::Write(const JournalEntry& entry) {
  if (const auto* erase = std::get_if<JournalErase>(&entry)) {
    sessions_.erase(std::string(erase->actor_id));
  } else if (const auto* replace = std::get_if<JournalReplace>(&entry)) {
    sessions_[replace->record->actor_id] = *replace->record;
  } else {
    const auto& steps = std::get<JournalSteps>(entry);
    const std::string actor_id(steps.actor_id);
    if (actor_id == taken_over_) return JournalOutcome::kTakenOver;
    if (steps.step_index > 0 &&
        (sessions_.count(actor_id) == 0 ||
         sessions_[actor_id].num_steps() < steps.step_index)) {
      return JournalOutcome::kBehind;
    }
    Apply(steps, &sessions_[actor_id]);
  }
  return JournalOutcome::kWritten;
}

absl::StatusOr<std::optional<SessionRecord>> FakeJournal::Read(
    absl::string_view actor_id, MonotonicTime /*deadline*/) {
  MutexLock lock(&mu_);
  if (!broken_.ok()) return broken_;
  if (actor_id == taken_over_) taken_over_.clear();
  const auto it = sessions_.find(std::string(actor_id));
  if (it == sessions_.end()) return std::optional<SessionRecord>();
  return std::optional<SessionRecord>(it->second);
}

void FakeJournal::Break(absl::Status status) {
  MutexLock lock(&mu_);
  broken_ = std::move(status);
}

void FakeJournal::TakeOver(const std::string& actor_id) {
  MutexLock lock(&mu_);
  taken_over_ = actor_id;
}

void FakeJournal::Forget(const std::string& actor_id) {
  MutexLock lock(&mu_);
  sessions_.erase(actor_id);
}

void FakeJournal::Put(const SessionRecord& record) {
  MutexLock lock(&mu_);
  sessions_[record.actor_id] = record;
}

int FakeJournal::num_appends() const {
  MutexLock lock(&mu_);
  return num_appends_;
}

std::map<std::string, SessionRecord> FakeJournal::sessions() const {
  MutexLock lock(&mu_);
  return sessions_;
}

}  // namespace stepd
