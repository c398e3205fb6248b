// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/session_task_runner.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/common/error.h"
#include "server/engine/step_order.h"

namespace stepd {
namespace {

absl::Status SessionUnknown(absl::string_view actor_id) {
  return Error(absl::StatusCode::kNotFound, reason::kSessionUnknown,
               absl::StrCat("actor \"", actor_id, "\" has no session"));
}

absl::Status SessionExists(absl::string_view actor_id) {
  return Error(absl::StatusCode::kAlreadyExists, reason::kSessionExists,
               absl::StrCat("actor \"", actor_id,
                            "\" has a session already: reset it first"),
               {{"field", std::string(actor_id)}});
}

// Hands `value` over, or what went wrong.
template <typename Done, typename T>
absl::AnyInvocable<void(absl::Status)> DeliveryOf(Done done, T value) {
  return [done = std::move(done),
          value = std::move(value)](const absl::Status& status) mutable {
    if (!status.ok()) return done(status);
    done(std::move(value));
  };
}

// Others have begun a step, and may never have one.
bool IsListed(const Session& session) { return session.num_steps() > 0; }

// A call that came twice has made the copy before. `Copy`: a Session or a
// SessionRecord.
template <typename Copy>
bool WasMade(const Copy& copy, const std::optional<std::uint64_t>& epoch,
             std::uint64_t num_steps) {
  return epoch.has_value() && copy.epoch == *epoch &&
         static_cast<std::uint64_t>(copy.num_steps()) == num_steps;
}

}  // namespace

bool SessionTaskRunner::TryAnswer(Task* task, MonotonicTime now) const {
  if (auto* list = std::get_if<ListTask>(task)) {
    list->done(List(*list, now));
    return true;
  }
  if (auto* inspect = std::get_if<InspectTask>(task)) {
    inspect->done(Inspect(inspect->actor_id, now));
    return true;
  }
  return false;
}

void SessionTaskRunner::Run(Work* work, MonotonicTime now) {
  if (auto* reset = std::get_if<ResetTask>(&work->task)) {
    Run(reset, work);
  } else if (auto* fork = std::get_if<ForkTask>(&work->task)) {
    Run(fork, work, now);
  } else if (auto* exported = std::get_if<ExportTask>(&work->task)) {
    Run(exported, work);
  } else {
    Run(&std::get<ImportTask>(work->task), work);
  }
}

void SessionTaskRunner::Run(ResetTask* task, Work* work) {
  Session* session = work->session;
  work->delivery = std::move(task->done);
  // Without a place in memory nobody can tell whether it was done before.
  if (task->epoch.has_value() && absl::IsResourceExhausted(work->status)) {
    return;
  }
  // A retry of a reset that was done before: the next session has begun.
  const bool is_done = session->is_open && task->epoch.has_value() &&
                       session->epoch >= *task->epoch;
  if (is_done) return;
  // What cannot be read can still be erased.
  work->status = journal_.Erase(session->actor_id);
  if (work->status.ok() && session->is_open) store_.End(task->end, session);
}

void SessionTaskRunner::Run(ForkTask* task, Work* work, MonotonicTime now) {
  const Session& source = *work->session;
  ForkResult result;
  work->status.Update(CheckWhere(source, task->source_epoch, task->num_steps));
  if (work->status.ok()) {
    result.epoch = task->epoch.has_value() ? *task->epoch : store_.NextEpoch();
    std::vector<Session*> forks;
    work->status = MakeForks(*task, result.epoch, source, &forks);
    for (Session* fork : forks) {
      if (work->status.ok()) {
        result.made.push_back(fork->actor_id);
        store_.table().MarkIdle(fork, now);
      } else {
        Undo(fork);
      }
    }
    if (task->wants_record) {
      // The reply of the last task stays the source's.
      result.record = std::make_shared<const SessionRecord>(
          RecordFrom(source, source.window_start()));
      result.kv_policy = source.version.kv_policy;
    }
  }
  work->delivery = DeliveryOf(std::move(task->done), std::move(result));
}

// On an error `forks` has those that were begun.
absl::Status SessionTaskRunner::MakeForks(const ForkTask& task,
                                          std::uint64_t epoch,
                                          const Session& source,
                                          std::vector<Session*>* forks) {
  const auto num_steps = static_cast<std::uint64_t>(source.num_steps());
  for (const std::string& actor_id : task.forks) {
    if (const Session* existing = store_.table().Find(actor_id)) {
      if (WasMade(*existing, task.epoch, num_steps)) continue;
      return SessionExists(actor_id);
    }
    const auto stored = journal_.Read(actor_id);
    if (!stored.ok()) return stored.status();
    if (stored->has_value()) {
      if (WasMade(**stored, task.epoch, num_steps)) continue;
      return SessionExists(actor_id);
    }
    Session* fork = store_.table().FindOrCreate(actor_id);
    forks->push_back(fork);
    absl::Status status = store_.Fork(source, epoch, fork);
    if (!status.ok()) return status;
    fork->is_looked_up = true;
    if (!journal_.exists()) continue;
    status = journal_.Replace(RecordOf(*fork));
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

// Of forks that cannot all be made, none is.
void SessionTaskRunner::Undo(Session* fork) {
  // Whether this works or not, the journal has no more than a session that
  // nobody was told of.
  journal_.Erase(fork->actor_id).IgnoreError();
  store_.Empty(fork);
  store_.table().Erase(fork);
}

void SessionTaskRunner::Run(ExportTask* task, Work* work) {
  const Session& session = *work->session;
  work->status.Update(CheckWhere(session, std::nullopt, std::nullopt));
  SessionRecord record;
  if (work->status.ok()) record = RecordOf(session);
  work->delivery = DeliveryOf(std::move(task->done), std::move(record));
}

void SessionTaskRunner::Run(ImportTask* task, Work* work) {
  Session* session = work->session;
  const bool was_made =
      task->may_be_made && session->num_steps() > 0 &&
      WasMade(*session, task->epoch, task->record->num_steps());
  work->delivery = DeliveryOf(std::move(task->done), !was_made);
  if (!work->status.ok() || was_made) return;
  if (session->num_steps() > 0) {
    work->status = SessionExists(session->actor_id);
    return;
  }
  work->status = store_.Import(*task->record, session);
  if (!work->status.ok()) return;
  if (task->epoch.has_value()) session->epoch = *task->epoch;
  session->version.kv_policy = task->kv_policy;
  if (!journal_.exists()) return;
  work->status = journal_.Replace(RecordOf(*session));
  if (!work->status.ok()) store_.Empty(session);
}

absl::StatusOr<SessionInfo> SessionTaskRunner::Inspect(
    const std::string& actor_id, MonotonicTime now) const {
  const Session* session = store_.table().Find(actor_id);
  if (session == nullptr || !IsListed(*session)) {
    return SessionUnknown(actor_id);
  }
  return store_.InfoOf(*session, executor_, now);
}

SessionList SessionTaskRunner::List(const ListTask& task,
                                    MonotonicTime now) const {
  SessionList list;
  list.num_sessions = store_.num_open();
  store_.table().ForEach([&](const Session& session) {
    if (static_cast<std::int64_t>(list.sessions.size()) >= task.max_sessions) {
      return false;
    }
    if (IsListed(session) &&
        absl::StartsWith(session.actor_id, task.actor_prefix)) {
      list.sessions.push_back(store_.InfoOf(session, executor_, now));
    }
    return true;
  });
  for (const EndedSession& ended : store_.ended()) {
    if (absl::StartsWith(ended.actor_id, task.actor_prefix)) {
      list.ended.push_back(ended);
    }
  }
  return list;
}

}  // namespace stepd
