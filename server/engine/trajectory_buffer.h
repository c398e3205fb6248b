// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The last steps that finished, for readers that come and go at their own
// pace: a bounded queue from which nothing is taken. What does not fit any
// more leaves it, read or not; readers count what they missed.
//
// A stream is what the buffer holds from Open() to Close(). It has an identity
// and numbers its steps from 1 on, so a reader can go on where it, or another
// one, has ended.
//
// Thread safety: thread-safe. Nobody waits for a reader: the lock is held to
// add steps, or to share those that one message has.

#ifndef STEPD_SERVER_ENGINE_TRAJECTORY_BUFFER_H_
#define STEPD_SERVER_ENGINE_TRAJECTORY_BUFFER_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "server/common/clock.h"
#include "server/common/mutex.h"
#include "server/engine/finished_step.h"

namespace stepd {

// How much of something there may be. One step always may.
struct StepBounds {
  std::int64_t max_steps = 0;
  std::int64_t max_bytes = 0;
};

class TrajectoryBuffer final : public FinishedStepSink {
 public:
  struct Place {
    std::string stream_id;
    std::uint64_t sequence = 0;  // of a step; 0: before the first one
  };
  struct Portion {
    std::vector<std::shared_ptr<const FinishedStep>> steps;
    std::uint64_t last = 0;         // sequence of the last of them
    std::uint64_t num_dropped = 0;  // before the first of them
  };

  explicit TrajectoryBuffer(const StepBounds& bounds) : bounds_(bounds) {}

  bool is_open() const override {
    return is_open_.load(std::memory_order_relaxed);
  }
  void Take(std::vector<FinishedStep> steps) override ABSL_LOCKS_EXCLUDED(mu_);

  // Begins a stream unless there is one. Where it has come to.
  Place Open() ABSL_LOCKS_EXCLUDED(mu_);
  // Ends the stream and frees its steps.
  void Close() ABSL_LOCKS_EXCLUDED(mu_);

  // What follows the step `after` of the stream, as far as `bounds` go. The
  // lost ones count as read: `last` may be beyond `after` without a step.
  // REQUIRES: a stream is open, and has come to `after`.
  Portion Read(std::uint64_t after, const StepBounds& bounds) const
      ABSL_LOCKS_EXCLUDED(mu_);

  // For one thread that serves the readers. Returns when there are new steps
  // or Wake() was called since it returned last, or at `until`.
  void Wait(MonotonicTime until) ABSL_LOCKS_EXCLUDED(mu_);
  void Wake() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  using Steps = std::deque<std::shared_ptr<const FinishedStep>>;

  bool IsOver() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return static_cast<std::int64_t>(steps_.size()) > bounds_.max_steps ||
           num_bytes_ > bounds_.max_bytes;
  }

  const StepBounds bounds_;
  std::atomic<bool> is_open_{false};
  mutable Mutex mu_;
  CondVar woken_;
  bool has_news_ ABSL_GUARDED_BY(mu_) = false;
  std::string stream_id_ ABSL_GUARDED_BY(mu_);  // empty: closed
  Steps steps_ ABSL_GUARDED_BY(mu_);
  std::int64_t num_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  std::uint64_t last_ ABSL_GUARDED_BY(mu_) = 0;  // sequence of steps_.back()
};

}  // namespace stepd

#endif  // STEPD_SERVER_ENGINE_TRAJECTORY_BUFFER_H_
