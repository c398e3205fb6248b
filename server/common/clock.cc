// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/common/clock.h"

#include <algorithm>

namespace stepd {
namespace {

constexpr absl::Duration kLongest = absl::Hours(24 * 365 * 10);

class SteadyClock : public Clock {
 public:
  MonotonicTime Now() const override {
    return std::chrono::steady_clock::now();
  }
};

}  // namespace

MonotonicDuration ToMonotonic(absl::Duration duration) {
  return absl::ToChronoNanoseconds(std::min(duration, kLongest));
}

const Clock* Clock::Real() {
  static const SteadyClock kClock;
  return &kClock;
}

}  // namespace stepd
