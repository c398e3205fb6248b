// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/common/clock.h"

namespace stepd {
namespace {

class SteadyClock : public Clock {
 public:
  MonotonicTime Now() const override {
    return std::chrono::steady_clock::now();
  }
};

}  // namespace

const Clock* Clock::Real() {
  static const SteadyClock kClock;
  return &kClock;
}

}  // namespace stepd
