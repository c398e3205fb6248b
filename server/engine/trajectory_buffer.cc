// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/trajectory_buffer.h"

#include <algorithm>
#include <cassert>
#include <iterator>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"

namespace stepd {
namespace {

// No other stream has it, of this process or of another.
std::string NewStreamId() {
  std::random_device random;
  std::string id;
  for (int i = 0; i < 4; ++i) {
    absl::StrAppend(&id, absl::Hex(random(), absl::kZeroPad8));
  }
  return id;
}

}  // namespace

void TrajectoryBuffer::Take(std::vector<FinishedStep> steps) {
  Steps added;
  std::int64_t added_bytes = 0;
  for (FinishedStep& step : steps) {
    added_bytes += static_cast<std::int64_t>(step.num_bytes());
    added.push_back(std::make_shared<const FinishedStep>(std::move(step)));
  }
  Steps dropped;  // freed without the lock
  MutexLock lock(&mu_);
  if (stream_id_.empty()) return;
  last_ += added.size();
  num_bytes_ += added_bytes;
  steps_.insert(steps_.end(), std::make_move_iterator(added.begin()),
                std::make_move_iterator(added.end()));
  while (IsOver() && steps_.size() > 1) {
    num_bytes_ -= static_cast<std::int64_t>(steps_.front()->num_bytes());
    dropped.push_back(std::move(steps_.front()));
    steps_.pop_front();
  }
  if (std::exchange(has_news_, true)) return;
  woken_.NotifyOne();
}

TrajectoryBuffer::Place TrajectoryBuffer::Open() {
  MutexLock lock(&mu_);
  if (stream_id_.empty()) {
    stream_id_ = NewStreamId();
    last_ = 0;
    is_open_.store(true, std::memory_order_relaxed);
  }
  Place place;
  place.stream_id = stream_id_;
  place.sequence = last_;
  return place;
}

void TrajectoryBuffer::Close() {
  Steps dropped;
  MutexLock lock(&mu_);
  is_open_.store(false, std::memory_order_relaxed);
  stream_id_.clear();
  dropped.swap(steps_);
  num_bytes_ = 0;
}

TrajectoryBuffer::Portion TrajectoryBuffer::Read(
    std::uint64_t after, const StepBounds& bounds) const {
  Portion portion;
  MutexLock lock(&mu_);
  assert(!stream_id_.empty() && after <= last_);
  const std::uint64_t before_first = last_ - steps_.size();
  portion.last = std::max(after, before_first);
  portion.num_dropped = portion.last - after;
  std::int64_t num_bytes = 0;
  for (std::size_t i = portion.last - before_first; i < steps_.size(); ++i) {
    num_bytes += static_cast<std::int64_t>(steps_[i]->num_bytes());
    const auto num_steps = static_cast<std::int64_t>(portion.steps.size());
    const bool has_room =
        num_steps < bounds.max_steps && num_bytes <= bounds.max_bytes;
    if (num_steps > 0 && !has_room) break;
    portion.steps.push_back(steps_[i]);
    ++portion.last;
  }
  return portion;
}

void TrajectoryBuffer::Wait(MonotonicTime until) {
  MutexLock lock(&mu_);
  while (!has_news_) {
    if (until == kInfiniteFuture) {
      woken_.Wait(&mu_);
    } else if (!woken_.WaitUntil(&mu_, until)) {
      break;
    }
  }
  has_news_ = false;
}

void TrajectoryBuffer::Wake() {
  MutexLock lock(&mu_);
  has_news_ = true;
  woken_.NotifyOne();
}

}  // namespace stepd
