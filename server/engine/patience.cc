// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/patience.h"

#include <algorithm>
#include <chrono>

namespace stepd {
namespace {

// As long as the two halves of a batch would take, if they ran one after the
// other; but no longer than a step may be late by it.
constexpr int kBatchesWaited = 2;
constexpr MonotonicDuration kMostWait = std::chrono::milliseconds(4);

// Who stays away for so many waits is not waited for.
constexpr int kWindowOfMaxWait = 4;
constexpr int kWindowOfAnswer = 2;

// Weight of one return in their share.
constexpr double kNewest = 1.0 / 16;

MonotonicDuration LongestWait(MonotonicDuration expected_batch) {
  return std::min(kBatchesWaited * expected_batch, kMostWait);
}

}  // namespace

void Patience::OnReturn(MonotonicDuration away,
                        MonotonicDuration expected_batch) {
  const double is_in_time = away <= LongestWait(expected_batch) ? 1.0 : 0.0;
  share_in_time_ += kNewest * (is_in_time - share_in_time_);
}

MonotonicDuration Patience::Wait(MonotonicDuration expected_batch) const {
  if (max_wait_.has_value()) return *max_wait_;
  return share_in_time_ < 0.5 ? MonotonicDuration::zero()
                              : LongestWait(expected_batch);
}

MonotonicDuration Patience::Window(MonotonicDuration expected_batch) const {
  return Wait(expected_batch) *
         (counts_from_answer() ? kWindowOfAnswer : kWindowOfMaxWait);
}

}  // namespace stepd
