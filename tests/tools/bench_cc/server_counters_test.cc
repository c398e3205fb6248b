// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tools/bench_cc/server_counters.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace stepd::bench {
namespace {

constexpr char kPage[] =
    "# HELP stepd_steps_total Steps.\n"
    "# TYPE stepd_steps_total counter\n"
    "stepd_steps_total 12\n"
    "stepd_batches_fired_total{reason=\"idle\"} 3\n"
    "stepd_forward_seconds_sum 1.5e-3\n"
    "stepd_forward_seconds_bucket{le=\"+Inf\"} 3\n"
    "\n"
    "no sample\n";

TEST(ServerCountersTest, ParsesSamplesWithTheirLabels) {
  const Samples samples = ParseMetrics(kPage);
  EXPECT_EQ(samples.size(), 4U);
  EXPECT_EQ(Get(samples, "stepd_steps_total"), 12.0);
  EXPECT_EQ(Get(samples, "stepd_batches_fired_total{reason=\"idle\"}"), 3.0);
  EXPECT_EQ(Get(samples, "stepd_forward_seconds_sum"), 1.5e-3);
  EXPECT_EQ(Get(samples, "stepd_forward_seconds_bucket{le=\"+Inf\"}"), 3.0);
  EXPECT_EQ(Get(samples, "stepd_nothing"), 0.0);
}

TEST(ServerCountersTest, ParsesNothingFromNothing) {
  EXPECT_TRUE(ParseMetrics("").empty());
}

TEST(ServerCountersTest, GrowthCountsNewSamplesFromZero) {
  const Samples growth = Growth({{"a", 1.0}}, {{"a", 5.0}, {"b", 2.0}});
  EXPECT_EQ(growth, (Samples{{"a", 4.0}, {"b", 2.0}}));
}

TEST(ServerCountersTest, NobodyAnswers) {
  // Port 1 is reserved and not listened on.
  EXPECT_EQ(ReadMetrics("127.0.0.1:1").status().code(),
            absl::StatusCode::kUnavailable);
}

TEST(ServerCountersTest, ReadsTheTimeOfThisProcess) {
  const auto before = ReadCpuTime(getpid());
  ASSERT_TRUE(before.ok()) << before.status();
  EXPECT_EQ(before->executors, 0.0);  // no thread here has such a name
  EXPECT_GE(before->machine, before->process);
  // Works until the system has charged for it.
  double process = before->process;
  for (volatile int i = 0; process == before->process; i = i + 1) {
    if (i % 100000 != 0) continue;
    const auto now = ReadCpuTime(getpid());
    ASSERT_TRUE(now.ok()) << now.status();
    process = now->process;
  }
  EXPECT_GT(process, before->process);
}

TEST(ServerCountersTest, NoSuchProcess) {
  EXPECT_EQ(ReadCpuTime(-1).status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace stepd::bench
