// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/session_task_runner.h"

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/common/error.h"
#include "server/common/stable_hash.h"

namespace stepd {
namespace {

absl::Status SessionUnknown(const Session& session) {
  return Error(absl::StatusCode::kNotFound, reason::kSessionUnknown,
               absl::StrCat("actor \"", session.actor_id, "\" has no session"));
}

absl::Status SessionExists(absl::string_view actor_id) {
  return Error(absl::StatusCode::kAlreadyExists, reason::kSessionExists,
               absl::StrCat("actor \"", actor_id,
                            "\" has a session already: reset it first"),
               {{"field", std::string(actor_id)}});
}

}  // namespace

void SessionTaskRunner::Run(Work* work, MonotonicTime now) {
  if (auto* reset = std::get_if<ResetTask>(&work->task)) {
    Run(reset, work);
  } else if (auto* fork = std::get_if<ForkTask>(&work->task)) {
    Run(fork, work, now);
  } else if (auto* inspect = std::get_if<InspectTask>(&work->task)) {
    Run(inspect, work, now);
  } else if (auto* exported = std::get_if<ExportTask>(&work->task)) {
    Run(exported, work);
  } else {
    Run(&std::get<ImportTask>(work->task), work);
  }
}

void SessionTaskRunner::Run(ResetTask* task, Work* work) {
  Session* session = work->session;
  work->delivery = std::move(task->done);
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
  if (work->status.ok() && source.num_steps() == 0) {
    work->status = SessionUnknown(source);
  }
  if (work->status.ok()) {
    result.epoch = task->epoch.has_value() ? *task->epoch : store_.NextEpoch();
    std::vector<Session*> forks;
    work->status = MakeForks(*task, result.epoch, source, &forks);
    for (Session* fork : forks) {
      if (work->status.ok()) {
        store_.table().MarkIdle(fork, now);
      } else {
        Undo(fork);
      }
    }
    if (task->wants_record) {
      result.record =
          std::make_shared<const SessionRecord>(store_.Export(source));
    }
  }
  work->delivery = [done = std::move(task->done),
                    result](const absl::Status& status) mutable {
    if (!status.ok()) return done(status);
    done(std::move(result));
  };
}

// On an error `forks` has those that were begun.
absl::Status SessionTaskRunner::MakeForks(const ForkTask& task,
                                          std::uint64_t epoch,
                                          const Session& source,
                                          std::vector<Session*>* forks) {
  for (const std::string& actor_id : task.forks) {
    if (store_.table().Find(actor_id) != nullptr) {
      return SessionExists(actor_id);
    }
    const auto journalled = journal_.Read(actor_id);
    if (!journalled.ok()) return journalled.status();
    if (journalled->has_value()) return SessionExists(actor_id);
    Session* fork = store_.table().FindOrCreate(actor_id, StableHash(actor_id));
    forks->push_back(fork);
    absl::Status status = store_.Fork(source, epoch, fork);
    if (!status.ok()) return status;
    fork->is_looked_up = true;
    if (!journal_.exists()) continue;
    status = journal_.Replace(store_.Export(*fork));
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

void SessionTaskRunner::Run(InspectTask* task, Work* work, MonotonicTime now) {
  const Session& session = *work->session;
  SessionInfo info = store_.InfoOf(session, now);
  info.executor = executor_;
  // The question itself does not make it busy.
  info.is_busy = work->next_of_session != nullptr;
  info.idle = absl::FromChrono(now - session.last_use);
  if (work->status.ok() && session.num_steps() == 0) {
    work->status = SessionUnknown(session);
  }
  work->delivery = [done = std::move(task->done), info = std::move(info)](
                       const absl::Status& status) mutable {
    if (!status.ok()) return done(status);
    done(std::move(info));
  };
}

void SessionTaskRunner::Run(ExportTask* task, Work* work) {
  const Session& session = *work->session;
  if (work->status.ok() && session.num_steps() == 0) {
    work->status = SessionUnknown(session);
  }
  SessionRecord record;
  if (work->status.ok()) record = store_.Export(session);
  work->delivery = [done = std::move(task->done), record = std::move(record)](
                       const absl::Status& status) mutable {
    if (!status.ok()) return done(status);
    done(std::move(record));
  };
}

void SessionTaskRunner::Run(ImportTask* task, Work* work) {
  Session* session = work->session;
  work->delivery = std::move(task->done);
  if (!work->status.ok()) return;
  if (session->num_steps() > 0) {
    work->status = SessionExists(session->actor_id);
    return;
  }
  work->status = store_.Import(*task->record, session);
  if (!work->status.ok()) return;
  if (task->epoch.has_value()) session->epoch = *task->epoch;
  if (!journal_.exists()) return;
  work->status = journal_.Replace(store_.Export(*session));
  if (!work->status.ok()) store_.Empty(session);
}

void SessionTaskRunner::List(ListTask task, MonotonicTime now) {
  SessionList list;
  list.num_sessions = store_.num_open();
  store_.table().ForEach([&](const Session& session) {
    const bool is_wanted =
        session.num_steps() > 0 &&
        absl::StartsWith(session.actor_id, task.actor_prefix);
    if (!is_wanted) return true;
    if (static_cast<std::int64_t>(list.sessions.size()) >= task.max_sessions) {
      return false;
    }
    list.sessions.push_back(store_.InfoOf(session, now));
    list.sessions.back().executor = executor_;
    return true;
  });
  for (const EndedSession& ended : store_.ended()) {
    if (absl::StartsWith(ended.actor_id, task.actor_prefix)) {
      list.ended.push_back(ended);
    }
  }
  task.done(std::move(list));
}

}  // namespace stepd
