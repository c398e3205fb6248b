// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/step_queue.h"

#include <algorithm>
#include <cassert>
#include <chrono>
#include <cstdlib>
#include <thread>
#include <utility>

#include "absl/time/time.h"
#include "server/common/error.h"

namespace stepd {
namespace {

// A client that comes back sooner than this only adds load.
constexpr absl::Duration kMinRetryDelay = absl::Milliseconds(10);

MonotonicTime DeadlineOf(const Task& task) {
  const auto* step = std::get_if<StepTask>(&task);
  return step == nullptr ? kInfiniteFuture : step->deadline;
}

enum class Verdict { kAdmitted, kClosed, kFull, kTooLate };

absl::Status Overloaded(absl::string_view message, MonotonicDuration wait) {
  return RetryableError(absl::StatusCode::kResourceExhausted,
                        reason::kOverloaded, message,
                        std::max(kMinRetryDelay, absl::FromChrono(wait)));
}

absl::Status ToStatus(Verdict verdict, MonotonicDuration wait) {
  switch (verdict) {
    case Verdict::kAdmitted:
      return absl::OkStatus();
    case Verdict::kClosed:
      return Draining();
    case Verdict::kFull:
      return Overloaded("the queue is full", wait);
    case Verdict::kTooLate:
      return Overloaded("the queue is longer than the deadline allows", wait);
  }
  std::abort();
}

}  // namespace

absl::Status StepQueue::TryPush(QueuedTask&& task) {
  const MonotonicTime deadline = DeadlineOf(task.task);
  const MonotonicTime submitted = task.submitted;
  Verdict verdict = Verdict::kAdmitted;
  MonotonicDuration wait{};
  bool must_wake = false;
  {
    MutexLock lock(&mu_);
    wait = ExpectedWait();
    if (is_closed_) {
      verdict = Verdict::kClosed;
    } else if (num_unfinished_ >= max_tasks_) {
      verdict = Verdict::kFull;
    } else if (wait > MonotonicDuration::zero() &&
               deadline - submitted < wait) {
      verdict = Verdict::kTooLate;
    } else {
      tasks_.push_back(std::move(task));
      ++num_unfinished_;
      must_wake = MustWake(deadline);
      if (must_wake) EndSleep();
    }
  }
  if (must_wake) changed_.NotifyOne();
  return ToStatus(verdict, wait);
}

// A sleeper wakes once for all that it waits for.
bool StepQueue::MustWake(MonotonicTime deadline) const {
  if (!sleeper_.has_value()) return false;
  return static_cast<std::int64_t>(tasks_.size()) >= sleeper_->num_tasks ||
         (deadline != kInfiniteFuture &&
          deadline - expected_batch_ < sleeper_->until);
}

bool StepQueue::PopAll(const Waiting& waiting, std::vector<QueuedTask>* tasks) {
  assert(tasks->empty());
  MonotonicDuration spin{};
  if (MustWait(waiting, &spin)) {
    const MonotonicTime begin = std::chrono::steady_clock::now();
    if (usual_wait_ < spin) Spin(std::min(waiting.until, begin + spin));
    WaitUntilWoken(waiting);
    const MonotonicDuration wait = std::chrono::steady_clock::now() - begin;
    usual_wait_ += (std::min(wait, 4 * spin_) - usual_wait_) / 8;
  }
  MutexLock lock(&mu_);
  is_woken_ = false;
  tasks_.swap(*tasks);
  return !(is_closed_ && tasks->empty());
}

bool StepQueue::MustWait(const Waiting& waiting, MonotonicDuration* spin) {
  MutexLock lock(&mu_);
  *spin = std::min(spin_, expected_batch_);
  if (!tasks_.empty() || is_closed_ || is_woken_ || waiting.until == kNoWait) {
    return false;
  }
  sleeper_ = waiting;
  has_sleeper_.store(true, std::memory_order_relaxed);
  return true;
}

void StepQueue::Spin(MonotonicTime end) const {
  while (has_sleeper_.load(std::memory_order_relaxed) &&
         std::chrono::steady_clock::now() < end) {
    std::this_thread::yield();
  }
}

void StepQueue::WaitUntilWoken(const Waiting& waiting) {
  MutexLock lock(&mu_);
  while (sleeper_.has_value()) {
    // wait_until() may overflow at the end of time.
    if (waiting.until == kInfiniteFuture) {
      changed_.Wait(&mu_);
    } else if (!changed_.WaitUntil(&mu_, waiting.until)) {
      break;
    }
  }
  EndSleep();
}

void StepQueue::EndSleep() {
  sleeper_.reset();
  has_sleeper_.store(false, std::memory_order_relaxed);
}

void StepQueue::Finish(std::int64_t num_tasks,
                       MonotonicDuration expected_batch) {
  MutexLock lock(&mu_);
  num_unfinished_ -= num_tasks;
  expected_batch_ = expected_batch;
}

void StepQueue::Wake() {
  {
    MutexLock lock(&mu_);
    is_woken_ = true;
    EndSleep();
  }
  changed_.NotifyAll();
}

void StepQueue::Close() {
  {
    MutexLock lock(&mu_);
    is_closed_ = true;
    EndSleep();
  }
  changed_.NotifyAll();
}

std::int64_t StepQueue::num_unfinished() const {
  MutexLock lock(&mu_);
  return num_unfinished_;
}

bool StepQueue::has_sleeper() const {
  MutexLock lock(&mu_);
  return sleeper_.has_value();
}

// Only whole batches ahead count, so that the estimate errs towards admitting.
MonotonicDuration StepQueue::ExpectedWait() const {
  return expected_batch_ * (num_unfinished_ / tasks_per_batch_);
}

}  // namespace stepd
