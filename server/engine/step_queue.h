// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The bounded queue between the threads that receive requests and the thread
// of one executor. Its lock is the only one that a Step takes.
//
// The bound counts tasks from TryPush() until the executor says that they are
// finished, so that a task that waits inside the executor counts as well.
//
// Thread safety: thread-safe. Blocking: only PopAll() waits.

#ifndef STEPD_SERVER_ENGINE_STEP_QUEUE_H_
#define STEPD_SERVER_ENGINE_STEP_QUEUE_H_

#include <atomic>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "server/common/clock.h"
#include "server/common/mutex.h"
#include "server/engine/session_task.h"

namespace stepd {

struct QueuedTask {
  Task task;
  MonotonicTime submitted{};
};

class StepQueue {
 public:
  // `tasks_per_batch`: how many tasks one batch can finish, to estimate waits.
  // `spin`: PopAll() looks for tasks for so long before it sleeps, but no
  // longer than a batch takes, and only if what it waited for came sooner
  // lately.
  StepQueue(int max_tasks, int tasks_per_batch,
            MonotonicDuration spin = MonotonicDuration::zero())
      : max_tasks_(max_tasks), tasks_per_batch_(tasks_per_batch), spin_(spin) {}

  // Takes `task` only if it returns OK.
  // Errors: kResourceExhausted  OVERLOADED: the queue is full, or the task
  //                             would expire while it waits (retryable)
  //         kUnavailable        DRAINING: the queue is closed (retryable)
  absl::Status TryPush(QueuedTask&& task) ABSL_LOCKS_EXCLUDED(mu_);

  static constexpr MonotonicTime kNoWait = MonotonicTime::min();

  // What PopAll() waits for if nothing is queued: that time, so many tasks, or
  // one that could not wait until that time and then for a batch.
  struct Waiting {
    MonotonicTime until = kInfiniteFuture;
    std::int64_t num_tasks = 1;
  };

  // Waits, or until the queue is closed or woken, and then exchanges what is in
  // `tasks` (which must be empty) for all queued tasks. False: the queue is
  // closed and nothing more will come.
  bool PopAll(const Waiting& waiting, std::vector<QueuedTask>* tasks)
      ABSL_LOCKS_EXCLUDED(mu_);

  // The executor finished that many tasks; a batch takes about so long.
  void Finish(std::int64_t num_tasks, MonotonicDuration expected_batch)
      ABSL_LOCKS_EXCLUDED(mu_);

  // Has PopAll() return, now or when it is called next, also without a task.
  void Wake() ABSL_LOCKS_EXCLUDED(mu_);

  // Refuses tasks from now on; those inside are still handed out.
  void Close() ABSL_LOCKS_EXCLUDED(mu_);

  std::int64_t num_unfinished() const ABSL_LOCKS_EXCLUDED(mu_);
  // Whether a PopAll() sleeps.
  bool has_sleeper() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  // Whether PopAll() is to wait, and how long awake; it is the sleeper then.
  bool MustWait(const Waiting& waiting, MonotonicDuration* spin)
      ABSL_LOCKS_EXCLUDED(mu_);
  void Spin(MonotonicTime end) const;
  void WaitUntilWoken(const Waiting& waiting) ABSL_LOCKS_EXCLUDED(mu_);
  void EndSleep() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool MustWake(MonotonicTime deadline) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  MonotonicDuration ExpectedWait() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::int64_t max_tasks_;
  const std::int64_t tasks_per_batch_;

  mutable Mutex mu_;
  CondVar changed_;
  std::vector<QueuedTask> tasks_ ABSL_GUARDED_BY(mu_);
  std::int64_t num_unfinished_ ABSL_GUARDED_BY(mu_) = 0;
  MonotonicDuration expected_batch_ ABSL_GUARDED_BY(mu_){};
  bool is_closed_ ABSL_GUARDED_BY(mu_) = false;
  bool is_woken_ ABSL_GUARDED_BY(mu_) = false;
  // Of the PopAll() that sleeps; nullopt: none does, or it will wake.
  std::optional<Waiting> sleeper_ ABSL_GUARDED_BY(mu_);
  // Whether there is a sleeper, for one that looks without the lock.
  std::atomic<bool> has_sleeper_{false};

  // Of the thread that calls PopAll().
  const MonotonicDuration spin_;
  MonotonicDuration usual_wait_{};
};

}  // namespace stepd

#endif  // STEPD_SERVER_ENGINE_STEP_QUEUE_H_
