// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/journal/degrading_journal.h"

#include <pthread.h>

#include <chrono>
#include <cstddef>
#include <utility>
#include <variant>

namespace stepd {
namespace {

constexpr MonotonicDuration kRetryPeriod = std::chrono::milliseconds(200);
constexpr MonotonicDuration kRetryTimeout = std::chrono::seconds(1);
constexpr std::size_t kMaxErasedAtOnce = 1024;

absl::string_view ActorOf(const JournalSteps& entry) { return entry.actor_id; }
absl::string_view ActorOf(const JournalReplace& entry) {
  return entry.record->actor_id;
}
absl::string_view ActorOf(const JournalErase& entry) { return entry.actor_id; }

absl::string_view ActorOf(const JournalEntry& entry) {
  return std::visit([](const auto& e) { return ActorOf(e); }, entry);
}

// Whether it rests on steps that the journal has.
bool GoesOn(const JournalEntry& entry) {
  const auto* steps = std::get_if<JournalSteps>(&entry);
  return steps != nullptr && steps->step_index > 0;
}

}  // namespace

DegradingJournal::DegradingJournal(std::unique_ptr<Journal> journal,
                                   JournalEvents* events)
    : journal_(std::move(journal)),
      events_(events),
      thread_([this] { Run(); }) {}

DegradingJournal::~DegradingJournal() {
  {
    MutexLock lock(&mu_);
    is_stopping_ = true;
  }
  has_changed_.NotifyAll();
  thread_.join();
}

absl::StatusOr<std::vector<JournalOutcome>> DegradingJournal::Append(
    absl::Span<const JournalEntry> entries, MonotonicTime deadline) {
  std::vector<JournalOutcome> outcomes(entries.size());
  std::vector<JournalEntry> writable;
  {
    MutexLock lock(&mu_);
    if (is_degraded_) {
      NoteMissed(entries);
      return outcomes;
    }
    writable = Writable(entries, &outcomes);
  }
  if (writable.empty()) return outcomes;
  auto written = journal_->Append(writable, deadline);
  MutexLock lock(&mu_);
  if (!written.ok()) {
    NoteMissed(writable);
    Degrade(written.status());
    return outcomes;
  }
  if (!behind_.empty()) NoteWritten(writable);
  if (writable.size() == entries.size()) return written;
  std::size_t next = 0;
  for (JournalOutcome& outcome : outcomes) {
    if (outcome == JournalOutcome::kWritten) outcome = (*written)[next++];
  }
  return outcomes;
}

absl::StatusOr<std::optional<SessionRecord>> DegradingJournal::Read(
    absl::string_view actor_id, MonotonicTime deadline) {
  {
    MutexLock lock(&mu_);
    if (is_degraded_) return std::nullopt;
  }
  auto session = journal_->Read(actor_id, deadline);
  if (!absl::IsUnavailable(session.status())) return session;
  MutexLock lock(&mu_);
  Degrade(session.status());
  return std::nullopt;
}

std::vector<JournalEntry> DegradingJournal::Writable(
    absl::Span<const JournalEntry> entries,
    std::vector<JournalOutcome>* outcomes) {
  std::vector<JournalEntry> writable;
  writable.reserve(entries.size());
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (!behind_.empty() && GoesOn(entries[i]) &&
        behind_.contains(ActorOf(entries[i]))) {
      (*outcomes)[i] = JournalOutcome::kBehind;
    } else {
      writable.push_back(entries[i]);
    }
  }
  return writable;
}

void DegradingJournal::NoteWritten(absl::Span<const JournalEntry> entries) {
  for (const JournalEntry& entry : entries) behind_.erase(ActorOf(entry));
}

void DegradingJournal::NoteMissed(absl::Span<const JournalEntry> entries) {
  for (const JournalEntry& entry : entries) {
    if (std::holds_alternative<JournalErase>(entry)) {
      behind_.erase(ActorOf(entry));
      ended_.emplace(ActorOf(entry));
    } else {
      behind_.emplace(ActorOf(entry));
    }
  }
}

void DegradingJournal::Degrade(const absl::Status& cause) {
  if (is_degraded_) return;
  is_degraded_ = true;
  events_->OnJournalDegraded(true, cause);
  has_changed_.NotifyAll();
}

void DegradingJournal::Run() {
  pthread_setname_np(pthread_self(), "stepd-degraded");
  mu_.Lock();
  while (!is_stopping_) {
    if (!is_degraded_) {
      has_changed_.Wait(&mu_);
      continue;
    }
    const MonotonicTime next = std::chrono::steady_clock::now() + kRetryPeriod;
    while (!is_stopping_ && has_changed_.WaitUntil(&mu_, next)) {
    }
    if (is_stopping_) break;
    mu_.Unlock();
    const absl::Status status = EraseEnded();
    mu_.Lock();
    if (!status.ok() || !ended_.empty()) continue;
    is_degraded_ = false;
    events_->OnJournalDegraded(false, absl::OkStatus());
  }
  mu_.Unlock();
}

// An append of nothing would not show whether the journal is back.
absl::Status DegradingJournal::EraseEnded() {
  std::vector<std::string> actors;
  {
    MutexLock lock(&mu_);
    for (const std::string& actor : ended_) {
      if (actors.size() == kMaxErasedAtOnce) break;
      actors.push_back(actor);
    }
  }
  const MonotonicTime deadline =
      std::chrono::steady_clock::now() + kRetryTimeout;
  // Nobody's session.
  const absl::Status status = journal_->Read("", deadline).status();
  if (!status.ok() || actors.empty()) return status;
  std::vector<JournalEntry> entries;
  entries.reserve(actors.size());
  for (const std::string& actor : actors) {
    JournalErase entry;
    entry.actor_id = actor;
    entries.push_back(entry);
  }
  const absl::Status erased = journal_->Append(entries, deadline).status();
  if (!erased.ok()) return erased;
  MutexLock lock(&mu_);
  for (const std::string& actor : actors) ended_.erase(actor);
  return absl::OkStatus();
}

}  // namespace stepd
