// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tools/bench_cc/peak_flops.h"

#include <gtest/gtest.h>

namespace stepd::bench {
namespace {

TEST(PeakFlopsTest, IsWhatAProcessorCanDo) {
  const double peak = MeasurePeakFlops();
#if defined(__x86_64__)
  if (__builtin_cpu_supports("fma")) {
    EXPECT_GT(peak, 1e9);  // a core of twenty years ago
    EXPECT_LT(peak, 1e13);
    return;
  }
#endif
  EXPECT_EQ(peak, 0.0);
}

}  // namespace
}  // namespace stepd::bench
