// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/parked_steps.h"

#include <algorithm>
#include <chrono>

#include "absl/strings/str_cat.h"
#include "server/common/error.h"

namespace stepd {
namespace {

// How often a step is asked whether it is still wanted, and how long before its
// deadline it is told that there is no version: its client should hear it.
constexpr MonotonicDuration kLook = std::chrono::milliseconds(100);
constexpr MonotonicDuration kAnswerMargin = std::chrono::milliseconds(50);

}  // namespace

absl::Status ParkedSteps::Park(Work* work, MonotonicTime now) {
  const StepTask& task = work->step();
  const MonotonicTime last = task.deadline == kInfiniteFuture
                                 ? kInfiniteFuture
                                 : task.deadline - kAnswerMargin;
  if (last <= now) {
    return Error(absl::StatusCode::kFailedPrecondition, reason::kModelVersion,
                 absl::StrCat("no version from ", task.version.min_version,
                              " on came in time"));
  }
  parked_.emplace(std::min(last, now + kLook), work);
  return absl::OkStatus();
}

MonotonicTime ParkedSteps::next_look() const {
  return parked_.empty() ? kInfiniteFuture : parked_.begin()->first;
}

Work* ParkedSteps::Take(MonotonicTime until) {
  if (parked_.empty() || parked_.begin()->first > until) return nullptr;
  Work* work = parked_.begin()->second;
  parked_.erase(parked_.begin());
  return work;
}

}  // namespace stepd
