// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tools/bench_cc/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace stepd::bench {
namespace {

using testing::HasSubstr;

nlohmann::ordered_json Result() {
  return nlohmann::ordered_json::parse(R"({
    "date": "2026-01-31 12:00 UTC",
    "commit": "abc1234",
    "machine": {"cpu": "A Processor", "cores": 2,
                "load_average_before": [0.25, 0, 0],
                "load_average_after": [1.5, 0, 0]},
    "options": {"rounds": 5, "seconds": 2, "executors": 2, "threads": 1,
                "connections": 1},
    "cases": [{"model": "reference", "server": "stepd", "mode": "stream", "actors": 64,
               "median": {"steps_per_second": 1234567.8, "p50_ms": 1.234,
                          "p99_ms": 15}, "rounds": []}]})");
}

TEST(ReportTest, ShowsWhereAndWhat) {
  const auto text = FormatMarkdown(Result());
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_THAT(*text, HasSubstr("A Processor, 2 cores; load average 0.25 "
                               "before, 1.50 after; 2026-01-31 12:00 UTC; "
                               "commit abc1234"));
  EXPECT_THAT(
      *text,
      HasSubstr("| policy | server | mode | actors | steps/s | p50 ms |"));
  EXPECT_THAT(
      *text,
      HasSubstr("| reference | stepd | stream | 64 | 1,234,568 | 1.23 |"));
}

TEST(ReportTest, WhatWasNotMeasuredIsADash) {
  auto result = Result();
  result["cases"][0]["median"] = {{"steps_per_second", 999}};
  const auto text = FormatMarkdown(result);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_THAT(*text, HasSubstr("| 64 | 999 | – |"));
}

TEST(ReportTest, ComparesTheCasesThatAnEarlierResultHas) {
  auto now = Result();
  auto before = Result();
  before["cases"][0]["median"]["steps_per_second"] = 1234567.8 / 2.5;
  auto other = before["cases"][0];
  other["actors"] = 1;
  other["median"]["steps_per_second"] = 1;
  before["cases"].push_back(other);

  ASSERT_TRUE(CompareWith(before, &now).ok());

  const auto text = FormatMarkdown(now);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_THAT(*text, HasSubstr("| 2.50 |\n"));
  EXPECT_EQ(CompareWith({{"cases", 3}}, &now).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(ReportTest, RefusesWhatIsNoResult) {
  EXPECT_EQ(FormatMarkdown({{"cases", 3}}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace stepd::bench
