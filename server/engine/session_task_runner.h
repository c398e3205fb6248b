// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Runs what is asked about sessions besides their steps.
//
// Thread safety: none; one executor owns it.

#ifndef STEPD_SERVER_ENGINE_SESSION_TASK_RUNNER_H_
#define STEPD_SERVER_ENGINE_SESSION_TASK_RUNNER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/common/clock.h"
#include "server/engine/executor_journal.h"
#include "server/engine/session.h"
#include "server/engine/session_store.h"
#include "server/engine/session_task.h"
#include "server/engine/work.h"

namespace stepd {

class SessionTaskRunner {
 public:
  // Both must outlive it.
  SessionTaskRunner(int executor, SessionStore* store, ExecutorJournal* journal)
      : executor_(executor), store_(*store), journal_(*journal) {}

  // Answers `task` if it only looks at sessions. False: it does not.
  bool TryAnswer(Task* task, MonotonicTime now) const;

  // Does what the first work in its session's line says, and gives it its
  // status and its delivery.
  // REQUIRES: not a step, and nothing for TryAnswer().
  void Run(Work* work, MonotonicTime now);

 private:
  absl::StatusOr<SessionInfo> Inspect(const std::string& actor_id,
                                      MonotonicTime now) const;
  SessionList List(const ListTask& task, MonotonicTime now) const;

  void Run(ResetTask* task, Work* work);
  void Run(ForkTask* task, Work* work, MonotonicTime now);
  void Run(ExportTask* task, Work* work);
  void Run(ImportTask* task, Work* work);

  absl::Status MakeForks(const ForkTask& task, std::uint64_t epoch,
                         const Session& source, std::vector<Session*>* forks);
  void Undo(Session* fork);

  const int executor_;
  SessionStore& store_;
  ExecutorJournal& journal_;
};

}  // namespace stepd

#endif  // STEPD_SERVER_ENGINE_SESSION_TASK_RUNNER_H_
