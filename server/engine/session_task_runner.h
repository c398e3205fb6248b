// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Runs what is asked about a session besides its steps, when it is first in the
// session's line.
//
// Thread safety: none; one executor owns it.

#ifndef STEPD_SERVER_ENGINE_SESSION_TASK_RUNNER_H_
#define STEPD_SERVER_ENGINE_SESSION_TASK_RUNNER_H_

#include <memory>
#include <vector>

#include "absl/status/status.h"
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

  // Gives `work` its status and its delivery.
  // REQUIRES: not a step.
  void Run(Work* work, MonotonicTime now);

  void List(ListTask task, MonotonicTime now);

 private:
  void Run(ResetTask* task, Work* work);
  void Run(ForkTask* task, Work* work, MonotonicTime now);
  void Run(InspectTask* task, Work* work, MonotonicTime now);
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
