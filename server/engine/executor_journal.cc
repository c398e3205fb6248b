// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/executor_journal.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "server/common/error.h"
#include "server/engine/session.h"

namespace stepd {
namespace {

// A journal that takes longer is as good as none.
constexpr std::chrono::seconds kTimeout(1);

absl::Status TakenOver() {
  return RetryableError(absl::StatusCode::kUnavailable, reason::kJournal,
                        "another server has taken the session over",
                        absl::Milliseconds(10));
}

JournalEntry EntryOf(const Work& work) {
  const Session& session = *work.session;
  const auto& task = std::get<StepTask>(work.task);
  if (task.is_ephemeral) {  // ends with this task
    JournalErase erase;
    erase.actor_id = session.actor_id;
    return erase;
  }
  JournalSteps entry;
  entry.actor_id = session.actor_id;
  entry.epoch = session.epoch;
  entry.step_index = static_cast<std::uint64_t>(session.num_steps());
  entry.steps = &task.steps;
  if (session.num_steps() == 0) entry.session_inputs = InputsOf(session);
  entry.first_step = static_cast<std::uint64_t>(work.cached.begin);
  entry.answered = work.answered.get();
  return entry;
}

// The whole session as it will be with the steps of `work`.
SessionRecord RecordWith(const Work& work) {
  const Session& session = *work.session;
  const auto& task = std::get<StepTask>(work.task);
  SessionRecord record;
  record.actor_id = session.actor_id;
  record.epoch = session.epoch;
  record.session_inputs = std::string(InputsOf(session));
  record.first_step = static_cast<std::uint64_t>(work.cached.begin);
  const std::int64_t num_steps = session.num_steps();
  for (std::int64_t i = work.cached.begin; i < num_steps; ++i) {
    record.steps.Append(session.log[i]);
  }
  const std::int64_t first_new =
      std::max<std::int64_t>(0, work.cached.begin - num_steps);
  for (auto i = static_cast<std::size_t>(first_new); i < task.steps.size();
       ++i) {
    record.steps.Append(task.steps[i]);
  }
  if (work.answered != nullptr) record.answered = *work.answered;
  return record;
}

}  // namespace

std::vector<absl::Status> ExecutorJournal::Write(
    absl::Span<Work* const> works) {
  std::vector<absl::Status> statuses(works.size());
  if (!exists() || works.empty()) return statuses;
  std::vector<JournalEntry> entries;
  entries.reserve(works.size());
  MonotonicTime deadline = Deadline();
  for (const Work* work : works) {
    entries.push_back(EntryOf(*work));
    deadline = std::min(deadline, std::get<StepTask>(work->task).deadline);
  }
  const auto outcomes = journal_->Append(entries, deadline);
  for (std::size_t i = 0; i < works.size(); ++i) {
    if (!outcomes.ok()) {
      statuses[i] = outcomes.status();
    } else if ((*outcomes)[i] == JournalOutcome::kBehind) {
      statuses[i] = Replace(RecordWith(*works[i]));
    } else if ((*outcomes)[i] == JournalOutcome::kTakenOver) {
      works[i]->is_taken_over = true;
      statuses[i] = TakenOver();
    }
  }
  return statuses;
}

absl::Status ExecutorJournal::Erase(absl::string_view actor_id) {
  JournalErase entry;
  entry.actor_id = actor_id;
  return WriteOne(entry);
}

absl::Status ExecutorJournal::Replace(const SessionRecord& record) {
  JournalReplace entry;
  entry.record = &record;
  return WriteOne(entry);
}

absl::Status ExecutorJournal::WriteOne(const JournalEntry& entry) {
  if (!exists()) return absl::OkStatus();
  return journal_->Append({entry}, Deadline()).status();
}

absl::StatusOr<std::optional<SessionRecord>> ExecutorJournal::Read(
    absl::string_view actor_id) {
  if (!exists()) return std::optional<SessionRecord>();
  return journal_->Read(actor_id, Deadline());
}

MonotonicTime ExecutorJournal::Deadline() const {
  return clock_.Now() + kTimeout;
}

}  // namespace stepd
