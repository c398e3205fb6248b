// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// A task inside an executor: what was asked, how far it has come, and where it
// waits.
//
// Thread safety: none; one executor owns it.

#ifndef STEPD_SERVER_ENGINE_WORK_H_
#define STEPD_SERVER_ENGINE_WORK_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "server/common/clock.h"
#include "server/engine/context.h"
#include "server/engine/intrusive_list.h"
#include "server/engine/running_versions.h"
#include "server/engine/session.h"
#include "server/engine/step_queue.h"
#include "server/engine/step_task.h"

namespace stepd {

// Life of a step: queued behind its session's earlier work -> ready (in
// ReadyQueue) -> a slice of a batch -> ready again, until all its steps are
// computed -> finished. It is started when it holds the blocks for all of its
// tokens; from then on it needs nothing that others hold.
struct Work {
  Task task;
  Session* session = nullptr;
  Work* next_of_session = nullptr;
  MonotonicTime submitted{};

  // Steps only from here on.
  std::int64_t num_new_tokens = 0;  // of all steps of the task
  bool is_started = false;
  bool was_rebuilt = false;
  bool was_repeated = false;  // answered before
  int num_batches_blocked =
      0;  // batches that ran without it for lack of blocks
  MonotonicTime started{};

  // Computed in earlier batches, but not yet steps of the session.
  std::size_t num_steps_done = 0;
  // Once started: what the session's blocks hold, of the log and of the task.
  // Step indices count on from the log.
  ContextSpan cached;
  RunningVersion* version = nullptr;  // that the next slice runs under
  VersionRange context_versions;      // that made what is cached

  // Set before it is pushed into the ReadyQueue.
  std::int64_t num_ready_tokens = 0;  // to compute before it is finished
  bool is_single = false;             // one step and nothing before it
  ListLink<Work> ready_link;          // owned by ReadyQueue

  // Its slice of the current batch: steps that were answered before and are
  // only cached, then new ones.
  std::int64_t slice_old_steps = 0;
  std::int64_t slice_old_tokens = 0;
  std::size_t slice_new_steps = 0;
  std::int64_t slice_new_tokens = 0;
  int slice_rows = 0;  // answered ones

  absl::Status status;  // how it ended
  StepReply reply;      // rows answered so far
  // The reply as it will be kept; nullptr without a step index.
  std::unique_ptr<AnsweredTask> answered;
  // What the session was before a step that begins its next epoch; it is that
  // again if the step fails.
  std::unique_ptr<SessionState> previous;
  // Another server has written the session.
  bool is_taken_over = false;

  // Not a step: completes the task with its status.
  absl::AnyInvocable<void(absl::Status)> delivery;

  StepTask& step() { return std::get<StepTask>(task); }
  std::int64_t slice_tokens() const {
    return slice_old_tokens + slice_new_tokens;
  }
  // Index of the first step of the task that is not computed yet.
  std::int64_t first_new_step() const {
    return session->num_steps() + static_cast<std::int64_t>(num_steps_done);
  }
  void ClearSlice() {
    slice_old_steps = slice_old_tokens = slice_new_tokens = 0;
    slice_new_steps = 0;
    slice_rows = 0;
  }
  bool is_step() const { return std::holds_alternative<StepTask>(task); }
  bool is_evaluation() const {
    const auto* step = std::get_if<StepTask>(&task);
    return step != nullptr && step->evaluation != nullptr;
  }
};

// Recycles Work objects, so that a task costs no allocation of its own.
class WorkPool {
 public:
  Work* New() {
    if (free_.empty()) {
      all_.emplace_back();
      return &all_.back();
    }
    Work* work = free_.back();
    free_.pop_back();
    return work;
  }

  void Free(Work* work) {
    *work = Work();
    free_.push_back(work);
  }

 private:
  std::deque<Work> all_;  // stable addresses
  std::vector<Work*> free_;
};

}  // namespace stepd

#endif  // STEPD_SERVER_ENGINE_WORK_H_
