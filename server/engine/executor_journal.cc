// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/executor_journal.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <utility>

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
  const std::int64_t num_steps = session.num_steps();
  SessionRecord record =
      RecordFrom(session, std::min(work.cached.begin, num_steps));
  record.first_step = static_cast<std::uint64_t>(work.cached.begin);
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

void ExecutorJournal::Write(absl::Span<Work* const> works) {
  if (!exists() || works.empty()) return;
  entries_.clear();
  MonotonicTime deadline = Deadline();
  for (const Work* work : works) {
    entries_.push_back(EntryOf(*work));
    deadline = std::min(deadline, std::get<StepTask>(work->task).deadline);
  }
  const auto outcomes = journal_->Append(entries_, deadline);
  for (std::size_t i = 0; i < works.size(); ++i) {
    Work* work = works[i];
    if (!outcomes.ok()) {
      work->status = outcomes.status();
    } else if ((*outcomes)[i] == JournalOutcome::kBehind) {
      work->status = Replace(RecordWith(*work));
    } else if ((*outcomes)[i] == JournalOutcome::kTakenOver) {
      work->is_taken_over = true;
      work->status = TakenOver();
    }
  }
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

absl::Status ExecutorJournal::LookUp(Session* session) {
  if (session->is_looked_up || session->num_steps() > 0) {
    return absl::OkStatus();
  }
  const auto record = Read(session->actor_id);
  if (!record.ok()) return record.status();
  session->is_looked_up = true;
  if (!record->has_value()) return absl::OkStatus();
  return Restore(**record, session);
}

absl::Status ExecutorJournal::Refresh(Session* session) {
  const auto record = Read(session->actor_id);
  if (!record.ok()) return record.status();
  if (!record->has_value()) return absl::OkStatus();
  const auto num_steps = static_cast<std::uint64_t>(session->num_steps());
  const bool is_later = std::pair((*record)->epoch, (*record)->num_steps()) >
                        std::pair(session->epoch, num_steps);
  if (!is_later) return absl::OkStatus();
  store_.End(SessionEnd::kTakenOver, session);
  return Restore(**record, session);
}

absl::Status ExecutorJournal::Restore(const SessionRecord& record,
                                      Session* session) {
  absl::Status status = store_.Import(record, session);
  session->is_from_journal = status.ok();
  session->is_looked_up = status.ok();
  return status;
}

MonotonicTime ExecutorJournal::Deadline() const {
  return clock_.Now() + kTimeout;
}

}  // namespace stepd
