// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/step_log.h"

#include <cstdint>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace stepd {
namespace {

EncodedSteps Steps(const std::vector<std::string>& steps) {
  EncodedSteps encoded;
  for (const std::string& step : steps) encoded.Append(step);
  return encoded;
}

TEST(StepLog, KeepsStepsOfOneSizeWithoutOffsets) {
  StepLog log(/*fixed_bytes=*/3);
  log.Append(Steps({"abc", "def"}));
  log.Append(Steps({"ghi"}));

  EXPECT_EQ(log.num_steps(), 3);
  EXPECT_EQ(log.num_bytes(), 9U);
  EXPECT_EQ(log[0], "abc");
  EXPECT_EQ(log[1], "def");
  EXPECT_EQ(log[2], "ghi");
}

TEST(StepLog, KeepsStepsOfDifferentSizes) {
  StepLog log(/*fixed_bytes=*/-1);
  log.Append(Steps({"a", "", "bcd"}));
  log.Append(Steps({"ef", "g"}));

  EXPECT_EQ(log.num_steps(), 5);
  EXPECT_EQ(log[0], "a");
  EXPECT_EQ(log[1], "");
  EXPECT_EQ(log[2], "bcd");
  EXPECT_EQ(log[3], "ef");
  EXPECT_EQ(log[4], "g");
}

TEST(StepLog, CountsStepsOfNoBytes) {
  StepLog log(/*fixed_bytes=*/0);
  log.Append(Steps({"", "", ""}));

  EXPECT_EQ(log.num_steps(), 3);
  EXPECT_EQ(log[2], "");
}

TEST(StepLog, ForgetsItsFirstStepsAndKeepsTheOthersIndices) {
  for (const std::int64_t fixed_bytes : {-1, 2}) {
    StepLog log(fixed_bytes);
    log.Append(Steps({"aa", "bb", "cc"}));
    log.DropBefore(2);
    log.Append(Steps({"dd"}));
    log.DropBefore(2);

    EXPECT_EQ(log.first_step(), 2);
    EXPECT_EQ(log.num_steps(), 4);
    EXPECT_EQ(log.num_bytes(), 4U);
    EXPECT_EQ(log[2], "cc");
    EXPECT_EQ(log[3], "dd");
    log.DropBefore(4);
    EXPECT_EQ(log.num_bytes(), 0U);
  }
}

TEST(StepLog, GoesOnFromAnyIndex) {
  StepLog log(/*fixed_bytes=*/2, /*first_step=*/70);
  log.Append(Steps({"aa", "bb"}));

  EXPECT_EQ(log.first_step(), 70);
  EXPECT_EQ(log.num_steps(), 72);
  EXPECT_EQ(log[71], "bb");
}

TEST(StepLog, FindsEveryStepOfManyPages) {
  for (const std::int64_t fixed_bytes : {-1, 4}) {
    StepLog log(fixed_bytes);
    std::vector<std::string> steps;
    for (int i = 1000; i < 1300; ++i) steps.push_back(std::to_string(i));
    log.Append(Steps(steps));
    log.DropBefore(130);
    for (int i = 130; i < 300; ++i) EXPECT_EQ(log[i], steps[std::size_t(i)]);
    EXPECT_EQ(log.num_bytes(), 170U * 4);
  }
}

TEST(StepLog, LargeStepsEndTheirPageAlone) {
  StepLog log(/*fixed_bytes=*/-1);
  const std::string large(100000, 'x');
  log.Append(Steps({large, "a", large}));
  EXPECT_EQ(log[0], large);
  EXPECT_EQ(log[1], "a");
  EXPECT_EQ(log[2], large);
}

TEST(StepLog, CopiesGoTheirOwnWays) {
  for (const std::int64_t fixed_bytes : {-1, 2}) {
    StepLog log(fixed_bytes);
    for (int i = 0; i < 100; ++i)
      log.Append(Steps({std::to_string(10 + i % 90)}));
    StepLog copy = log;
    log.Append(Steps({"aa", "bb"}));
    copy.Append(Steps({"cc"}));
    copy.DropBefore(99);
    StepLog again = copy;
    copy.Append(Steps({"dd"}));

    EXPECT_EQ(log.num_steps(), 102);
    EXPECT_EQ(log[0], "10");
    EXPECT_EQ(log[100], "aa");
    EXPECT_EQ(log[101], "bb");
    EXPECT_EQ(copy[99], "19");
    EXPECT_EQ(copy[100], "cc");
    EXPECT_EQ(copy[101], "dd");
    EXPECT_EQ(again.num_steps(), 101);
    EXPECT_EQ(again[100], "cc");
  }
}

}  // namespace
}  // namespace stepd
