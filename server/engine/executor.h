// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The owner of a shard of sessions: what its one thread does with the tasks it
// takes from its queue. No thread and no waiting in here: the engine's loop
// calls, and tests call with a clock of their own.
//
// Invariants: (1) a block that is written is used by one session alone; (2) a
// session's log changes only when a whole task has been computed;
// whatever else happens to the task, the log and the counters are as before;
// (3) tasks of one actor finish in the order in which they were admitted;
// (4) a started step holds all the blocks it needs, so it always finishes;
// (5) a batch runs under one version of the weights.
//
// Thread safety: none; one thread at a time.

#ifndef STEPD_SERVER_ENGINE_EXECUTOR_H_
#define STEPD_SERVER_ENGINE_EXECUTOR_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "model/kv_cache/block_pool.h"
#include "model/policy.h"
#include "model/step.h"
#include "server/common/clock.h"
#include "server/engine/admission.h"
#include "server/engine/batch.h"
#include "server/engine/context.h"
#include "server/engine/executor_journal.h"
#include "server/engine/executor_trajectories.h"
#include "server/engine/failure_log.h"
#include "server/engine/journal.h"
#include "server/engine/observer.h"
#include "server/engine/parked_steps.h"
#include "server/engine/patience.h"
#include "server/engine/ready_queue.h"
#include "server/engine/running_versions.h"
#include "server/engine/served_version.h"
#include "server/engine/session.h"
#include "server/engine/session_store.h"
#include "server/engine/session_task_runner.h"
#include "server/engine/slicer.h"
#include "server/engine/step_queue.h"
#include "server/engine/step_starter.h"
#include "server/engine/work.h"

namespace stepd {

struct ExecutorOptions {
  int index = 0;  // names the executor to the observer
  FireOptions batching;
  std::int32_t num_blocks = 0;
  ContextLimits context;
  // Of the first session that is opened without one; later ones count on.
  std::uint64_t first_epoch = 1;
  MonotonicDuration idle_timeout = MonotonicDuration::max();
  KvPolicy kv_policy = KvPolicy::kPin;
};

class Executor {
 public:
  // Everything that is passed by pointer must outlive it.
  struct Parts {
    std::shared_ptr<ServedVersion> version;
    std::unique_ptr<PolicyRunner> runner;  // of that version
    SessionBudget* budget = nullptr;
    Observer* observer = nullptr;
    const Clock* clock = nullptr;
    Journal* journal = nullptr;  // nullptr: sessions end with the process
    FinishedStepSink* finished_steps = nullptr;  // nullptr: nobody is told
  };
  Executor(Parts parts, const ExecutorOptions& options);
  // REQUIRES: every admitted task has finished.
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // Puts a task at the end of its session's line. A task that needs no
  // computation runs at once if it is first in line.
  void Admit(QueuedTask task, MonotonicTime now);

  // When RunBatch() should be called; at kInfiniteFuture: nothing is ready.
  FireTime NextFire(MonotonicTime now);
  // Forms one batch, computes it and completes what it finished.
  void RunBatch(MonotonicTime now);

  // When the next idle session expires; kInfiniteFuture: none.
  MonotonicTime NextExpiry() const;
  // Drops idle sessions whose time has come; some at a time.
  void ExpireIdle(MonotonicTime now);

  // From now on nothing is waited for.
  void StartDraining();

  // From now on contexts begin under `rollout`, and those that there are go on
  // as the KV policy says. runners[i] is of its version i; nullptr: that one
  // runs here already.
  void RollOut(std::shared_ptr<const Rollout> rollout,
               std::vector<std::unique_ptr<PolicyRunner>> runners);

  // Tasks admitted and not yet finished.
  std::int64_t num_unfinished() const { return num_unfinished_; }
  // Tasks finished since the last call.
  std::int64_t TakeNumFinished();
  // How long a batch takes, from recent ones.
  MonotonicDuration expected_batch() const { return expected_batch_; }

  ExecutorGauges gauges() const;
  // For inspection: nullptr if the actor has no session.
  const Session* FindSession(absl::string_view actor_id) const {
    return store_.table().Find(actor_id);
  }
  const BlockPool& pool() const { return store_.blocks().pool(); }

 private:
  enum class Taken { kYes, kNo, kNoRoom };

  // Forming a batch.
  void FormBatch(MonotonicTime now);
  void TakeOverdue(MonotonicTime now);
  void TakeFrom(const ReadyQueue::List& list, std::int64_t max_tokens,
                MonotonicTime now);
  std::int64_t LongShare(std::int64_t single_tokens, MonotonicTime now);
  Taken TryTake(Work* work, std::int64_t max_tokens, MonotonicTime now);
  RunningVersion* FindVersion(Work* work, MonotonicTime now);
  void Park(Work* work, MonotonicTime now);
  void Unpark(MonotonicTime until);
  void MakeReady(Work* work);

  bool TryStart(Work* work, RunningVersion* version, MonotonicTime now);
  void EvictWaiting(Work* beneficiary);
  void EvictUnlessStarted(Work* work);

  // Computing the batch.
  void FailBatch(const absl::Status& status, MonotonicTime now);
  void AdvanceBatch(MonotonicTime now);

  // Ending tasks.
  void CompleteReply(Work* work);
  void CommitComputed(MonotonicTime now);
  void LeaveToJournal(Work* work);
  void Commit(Work* work, MonotonicTime now);
  void Fail(Work* work, absl::Status status, MonotonicTime now);
  void PutBackPrevious(Work* work);
  void Finish(Work* work, MonotonicTime now);
  void ServeNext(Session* session, MonotonicTime now);
  bool MustCompute(Work* work, MonotonicTime now);
  void MarkFollowed();
  void DeliverFinished(MonotonicTime now);
  void Deliver(Work* work, MonotonicTime now);

  // Constant after construction.
  const PolicySpec spec_;  // of every version
  const ExecutorOptions options_;
  Observer* const observer_;
  const Clock* const clock_;

  RunningVersions versions_;  // their runners outlive prepared inputs
  SessionStore store_;
  ExecutorJournal journal_;
  ExecutorTrajectories trajectories_;
  SessionTaskRunner session_tasks_;
  Slicer slicer_;
  const Admission admission_;
  FailureLog failures_;
  StepStarter starter_;
  WorkPool works_;
  ReadyQueue ready_;
  Patience patience_;
  ParkedSteps parked_;
  std::int64_t num_unfinished_ = 0;
  std::int64_t num_finished_ = 0;
  int num_completed_ = 0;  // of the current batch
  bool is_draining_ = false;
  // Tokens of the single steps in the last batch that had some, and how long
  // they are expected back.
  std::int64_t last_single_tokens_ = 0;
  MonotonicTime singles_until_{};
  // The last batch had no room for anything long: the next one begins with it.
  bool were_longs_passed_over_ = false;
  // A ready step that has been blocked for too long: nobody overtakes it.
  Work* overdue_ = nullptr;
  MonotonicDuration expected_batch_{};

  Batch batch_;                  // the current one
  std::vector<Work*> computed_;  // by it, to the end
  std::vector<Work*> finished_;
  absl::flat_hash_set<const void*> streams_;  // of finished_
  // Of sessions that have a later one; kept for their memory.
  std::vector<std::unique_ptr<AnsweredTask>> spare_answers_;
};

}  // namespace stepd

#endif  // STEPD_SERVER_ENGINE_EXECUTOR_H_
