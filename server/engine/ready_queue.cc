// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/ready_queue.h"

#include <algorithm>

namespace stepd {

void ReadyQueue::Push(Work* work) {
  (work->is_single ? singles_ : longs_).PushBack(work);
  ++num_works_;
  num_tokens_ += work->num_ready_tokens;
  AddToUrgency(work);
}

void ReadyQueue::Remove(Work* work) {
  (work->is_single ? singles_ : longs_).Remove(work);
  --num_works_;
  num_tokens_ -= work->num_ready_tokens;
  is_urgency_stale_ = true;
}

FireTime ReadyQueue::NextFire(const FireConditions& conditions) {
  const MonotonicTime now = conditions.now;
  if (empty()) return {kInfiniteFuture, FireReason::kIdle};
  if (conditions.is_draining) return {now, FireReason::kDraining};
  if (!conditions.wait_until.has_value()) return {now, FireReason::kIdle};
  if (num_works_ >= options_.max_batch_sessions ||
      num_tokens_ >= options_.max_batch_tokens) {
    return {now, FireReason::kFull};
  }
  if (conditions.num_recent_idle == 0) return {now, FireReason::kAllArrived};

  FireTime fire = {*conditions.wait_until, FireReason::kWaited};
  fire.num_missing = std::min(conditions.num_recent_idle,
                              options_.max_batch_sessions - num_works_);
  RefreshUrgency();
  if (urgency_.earliest_deadline != kInfiniteFuture) {
    const MonotonicTime latest =
        urgency_.earliest_deadline - conditions.expected_batch;
    if (latest < fire.at) {
      fire.at = latest;
      fire.reason = FireReason::kDeadline;
    }
  }
  return fire;
}

MonotonicTime ReadyQueue::OldestSubmitted() {
  RefreshUrgency();
  return urgency_.oldest_submitted;
}

void ReadyQueue::AddToUrgency(Work* work) {
  urgency_.oldest_submitted =
      std::min(urgency_.oldest_submitted, work->submitted);
  urgency_.earliest_deadline =
      std::min(urgency_.earliest_deadline, work->step().deadline);
}

// At most once per batch, and over what the batch left behind.
void ReadyQueue::RefreshUrgency() {
  if (!is_urgency_stale_) return;
  is_urgency_stale_ = false;
  urgency_ = {};
  for (const List* list : {&singles_, &longs_}) {
    for (Work* work = list->front(); work != nullptr; work = List::Next(work)) {
      AddToUrgency(work);
    }
  }
}

}  // namespace stepd
