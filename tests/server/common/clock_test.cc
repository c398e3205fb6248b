// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/common/clock.h"

#include "gtest/gtest.h"

namespace stepd {
namespace {

TEST(Clock, RealNeverGoesBack) {
  const MonotonicTime first = Clock::Real()->Now();
  const MonotonicTime second = Clock::Real()->Now();

  EXPECT_LE(first, second);
  EXPECT_LT(second, kInfiniteFuture);
}

TEST(Clock, RealIsOneObject) { EXPECT_EQ(Clock::Real(), Clock::Real()); }

}  // namespace
}  // namespace stepd
