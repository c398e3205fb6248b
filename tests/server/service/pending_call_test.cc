// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/service/pending_call.h"

#include <gtest/gtest.h>

#include <chrono>

#include "tests/fakes/fake_clock.h"

namespace stepd {
namespace {

using std::chrono::hours;
using std::chrono::system_clock;

TEST(ToMonotonic, MovesADeadlineToTheEnginesClock) {
  const FakeClock clock;

  const MonotonicTime deadline =
      ToMonotonic(system_clock::now() + hours(2), clock);

  EXPECT_LE(deadline, clock.Now() + hours(2));
  EXPECT_GT(deadline, clock.Now() + hours(1));
}

TEST(ToMonotonic, KeepsAPassedDeadlineInThePast) {
  const FakeClock clock;

  EXPECT_LT(ToMonotonic(system_clock::now() - hours(1), clock), clock.Now());
}

TEST(ToMonotonic, HasNoDeadlineForEver) {
  const FakeClock clock;

  EXPECT_EQ(ToMonotonic(system_clock::time_point::max(), clock),
            kInfiniteFuture);
  EXPECT_EQ(ToMonotonic(system_clock::now() + hours(24 * 366 * 100), clock),
            kInfiniteFuture);
}

}  // namespace
}  // namespace stepd
