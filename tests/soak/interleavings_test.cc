// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// All orders of few events; those of more are run by tools/soak.

#include "tests/soak/interleavings.h"

#include <cstdint>

#include "gtest/gtest.h"

namespace stepd {
namespace {

TEST(InterleavingsTest, EveryOrderKeepsBlocksTurnsAndStepsApart) {
  std::int64_t num_orders = 0;
  for (const InterleavingCase& test_case : ShortInterleavings()) {
    const absl::Status status = RunInterleavings(test_case, &num_orders);
    EXPECT_TRUE(status.ok()) << status;
  }
  EXPECT_GT(num_orders, 100000);
}

}  // namespace
}  // namespace stepd
