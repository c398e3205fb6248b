// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Monotonic time, injected so that tests decide what time it is.

#ifndef STEPD_SERVER_COMMON_CLOCK_H_
#define STEPD_SERVER_COMMON_CLOCK_H_

#include <chrono>

namespace stepd {

using MonotonicTime = std::chrono::steady_clock::time_point;
using MonotonicDuration = std::chrono::steady_clock::duration;
inline constexpr MonotonicTime kInfiniteFuture = MonotonicTime::max();

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
