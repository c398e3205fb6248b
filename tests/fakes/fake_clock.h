// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// A clock that only advances when it is told to.
//
// Thread safety: thread-safe.

#ifndef STEPD_TESTS_FAKES_FAKE_CLOCK_H_
#define STEPD_TESTS_FAKES_FAKE_CLOCK_H_

#include <atomic>
#include <chrono>

#include "server/common/clock.h"

namespace stepd {

class FakeClock : public Clock {
 public:
  MonotonicTime Now() const override {
    return MonotonicTime(MonotonicDuration(ticks_.load()));
  }

  void Advance(MonotonicDuration duration) {
    ticks_.fetch_add(duration.count());
  }

 private:
  // Starts well after zero, as real clocks do.
  std::atomic<MonotonicDuration::rep> ticks_{
      MonotonicDuration(std::chrono::hours(1)).count()};
};

}  // namespace stepd

#endif  // STEPD_TESTS_FAKES_FAKE_CLOCK_H_
