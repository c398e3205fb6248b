// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Monotonic time, injected so that tests decide what time it is.

#ifndef STEPD_SERVER_COMMON_CLOCK_H_
#define STEPD_SERVER_COMMON_CLOCK_H_

#include <chrono>

#include "absl/time/time.h"

namespace stepd {

using MonotonicTime = std::chrono::steady_clock::time_point;
using MonotonicDuration = std::chrono::steady_clock::duration;
inline constexpr MonotonicTime kInfiniteFuture = MonotonicTime::max();

// At most ten years: what is longer would overflow when added to a time.
MonotonicDuration ToMonotonic(absl::Duration duration);

// Thread safety: thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual MonotonicTime Now() const = 0;

  // The machine's steady clock.
  static const Clock* Real();
};

}  // namespace stepd

#endif  // STEPD_SERVER_COMMON_CLOCK_H_
