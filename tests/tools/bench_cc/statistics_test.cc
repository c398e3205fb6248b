// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tools/bench_cc/statistics.h"

#include <gtest/gtest.h>

#include <vector>

namespace stepd::bench {
namespace {

TEST(StatisticsTest, PercentileIsASampleThatEnoughDoNotExceed) {
  std::vector<float> samples;
  for (int i = 1; i <= 200; ++i) samples.push_back(static_cast<float>(i));
  EXPECT_EQ(Percentile(samples, 0.0), 1.0);
  EXPECT_EQ(Percentile(samples, 0.5), 100.0);
  EXPECT_EQ(Percentile(samples, 0.99), 198.0);
  EXPECT_EQ(Percentile(samples, 0.999), 200.0);
  EXPECT_EQ(Percentile(samples, 1.0), 200.0);
}

TEST(StatisticsTest, PercentileOfOneSampleIsIt) {
  EXPECT_EQ(Percentile({7.0F}, 0.5), 7.0);
  EXPECT_EQ(Percentile({7.0F}, 0.999), 7.0);
}

TEST(StatisticsTest, NothingHasNoPercentileAndNoMedian) {
  EXPECT_EQ(Percentile({}, 0.5), 0.0);
  EXPECT_EQ(Median({}), 0.0);
}

TEST(StatisticsTest, MedianIsTheMiddleInWhateverOrder) {
  EXPECT_EQ(Median({9.0, 1.0, 5.0}), 5.0);
  EXPECT_EQ(Median({9.0, 1.0, 5.0, 7.0}), 6.0);
}

TEST(StatisticsTest, MediansGoByName) {
  const auto rounds = nlohmann::ordered_json::parse(
      R"([{"a": 3, "b": 1}, {"a": 1}, {"a": 2, "b": 2}])");
  const auto medians = Medians(rounds);
  EXPECT_EQ(medians.size(), 2U);
  EXPECT_EQ(medians["a"], 2.0);
  EXPECT_EQ(medians["b"], 1.5);
}

}  // namespace
}  // namespace stepd::bench
