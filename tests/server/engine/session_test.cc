// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/session.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace stepd {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

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

TEST(Session, GivesBlocksBackFromTheEnd) {
  BlockPool pool(8);
  Session session("a", 1, SessionShape{3});
  ASSERT_TRUE(pool.Allocate(5, &session.blocks));
  const std::vector<std::int32_t> before = session.blocks;

  TrimBlocks(&session, 2, &pool);
  EXPECT_THAT(session.blocks, ElementsAre(before[0], before[1]));
  EXPECT_EQ(pool.num_used(), 2);
  TrimBlocks(&session, 4, &pool);
  EXPECT_EQ(pool.num_used(), 2);
}

TEST(Session, ForgetsItsCacheWithItsBlocks) {
  BlockPool pool(8);
  Session session("a", 1, SessionShape{3});
  session.log.Append(Steps({"abc", "def"}));
  ASSERT_TRUE(pool.Allocate(2, &session.blocks));
  session.num_tokens = session.num_cached_tokens = 6;
  session.num_cached_steps = 2;
  ASSERT_TRUE(session.is_cached());

  DropBlocks(&session, &pool);

  EXPECT_THAT(session.blocks, IsEmpty());
  EXPECT_EQ(pool.num_used(), 0);
  EXPECT_EQ(session.num_cached_tokens, 0);
  EXPECT_FALSE(session.is_cached());
  EXPECT_EQ(session.num_tokens, 6);
  EXPECT_EQ(session.num_steps(), 2);
}

}  // namespace
}  // namespace stepd
