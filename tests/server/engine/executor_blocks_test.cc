// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Who holds KV blocks, who loses them, and what a rebuild answers.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/common/error.h"
#include "server/engine/executor.h"
#include "tests/server/engine/executor_fixture.h"

namespace stepd {
namespace {

using testing::ElementsAre;

class BlocksTest : public ExecutorFixture {};

TEST_F(BlocksTest, TakesBlocksOfTheLeastRecentlyUsedIdleSession) {
  options_.num_blocks = 3;
  Start();
  Grow("oldest", 4);
  Grow("middle", 4);
  Grow("newest", 4);
  Step("oldest", {4});  // wants a second block, and is used last now
  RunBatch();

  EXPECT_EQ(NumCached("middle"), 0);
  EXPECT_EQ(NumCached("newest"), 4);
  EXPECT_EQ(NumCached("oldest"), 5);
  EXPECT_THAT(observer_.records().session_ends,
              ElementsAre(SessionEnd::kEvictedBlocks));
}

TEST_F(BlocksTest, RebuildsAnEvictedSessionWithTheSameAnswers) {
  options_.num_blocks = 3;
  Start();
  Grow("a", 9);  // all blocks
  Grow("b", 5);  // two of them
  const Answer* answer = Step("a", {9});
  RunBatch();

  EXPECT_THAT(answer->reply(),
              SameReply(Replay("a", {0, 1, 2, 3, 4, 5, 6, 7, 8}, {9})));
  EXPECT_TRUE(observer_.records().steps.back().was_rebuilt);
  EXPECT_FALSE(observer_.records().steps.front().was_rebuilt);
  EXPECT_EQ(NumCached("b"), 0);
}

TEST_F(BlocksTest, RebuildsInChunksWhileOthersStep) {
  options_.num_blocks = 8;
  options_.batching.max_batch_tokens = 5;
  Start();
  Grow("a", 20);
  Step("b", {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14});
  while (executor_->num_unfinished() > 0) RunBatch();
  ASSERT_EQ(NumCached("a"), 0);
  Reset("b");

  const Answer* rebuilt = Step("a", {20});
  int num_batches = 0;
  for (; !rebuilt->is_done(); ++num_batches) {
    const Answer* other = Step("c", {num_batches});
    RunBatch();
    EXPECT_TRUE(other->is_done());
  }

  EXPECT_EQ(num_batches, 6);  // 21 tokens, 4 beside the other's one
  std::vector<std::int64_t> before(20);
  for (std::size_t i = 0; i < 20; ++i) before[i] = static_cast<int>(i);
  EXPECT_THAT(rebuilt->reply(), SameReply(Replay("a", before, {20})));
}

TEST_F(BlocksTest, AFailedRebuildCanBeTriedAgain) {
  options_.num_blocks = 3;
  options_.batching.max_batch_tokens = 4;
  Start();
  Grow("a", 9);
  Grow("b", 1);
  ASSERT_EQ(NumCached("a"), 0);
  const auto num_forwards =
      static_cast<std::int64_t>(policy_->forwards().size());
  policy_->FailForwards(
      [num_forwards](std::int64_t n) { return n == num_forwards + 1; });

  const Answer* failed = Step("a", {50});
  RunBatch();
  RunBatch();
  EXPECT_TRUE(failed->is_done());
  const Answer* next = Step("a", {9});
  for (int i = 0; i < 3; ++i) RunBatch();

  EXPECT_THAT(next->reply(),
              SameReply(Replay("a", {0, 1, 2, 3, 4, 5, 6, 7, 8}, {9})));
}

TEST_F(BlocksTest, WaitsForBlocksThatTheBatchIsUsing) {
  options_.num_blocks = 2;
  Start();
  const Answer* first = Step("a", {1, 2, 3, 4, 5});
  const Answer* second = Step("b", {1, 2, 3, 4, 5});

  RunBatch();
  EXPECT_TRUE(first->is_done());
  EXPECT_FALSE(second->is_done());
  RunBatch();

  EXPECT_THAT(second->reply(), SameReply(Replay("b", {}, {1, 2, 3, 4, 5})));
}

TEST_F(BlocksTest, RefusesATaskThatNeedsMoreBlocksThanThereAre) {
  options_.num_blocks = 2;
  Start();
  Grow("a", 8);

  const Answer* over = Step("a", {8});
  RunBatch();

  EXPECT_EQ(over->status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(over->status()), reason::kCacheFull);
  EXPECT_EQ(executor_->FindSession("a")->num_steps(), 8);
}

TEST_F(BlocksTest, SessionsThatWaitForEachOthersBlocksTakeTurns) {
  options_.num_blocks = 4;
  Start();
  Grow("a", 8);
  Grow("b", 8);  // each holds two of four blocks and now wants a third

  const Answer* a = Step("a", {8});
  const Answer* b = Step("b", {8});
  for (int i = 0; i < 3 && !(a->is_done() && b->is_done()); ++i) RunBatch();

  const std::vector<std::int64_t> before = {0, 1, 2, 3, 4, 5, 6, 7};
  EXPECT_THAT(a->reply(), SameReply(Replay("a", before, {8})));
  EXPECT_THAT(b->reply(), SameReply(Replay("b", before, {8})));
}

TEST_F(BlocksTest, ABigSessionIsNotStarvedBySmallOnesThatNeverRest) {
  policy_options_.tokens_per_block = 64;  // so that the small ones stay small
  options_.num_blocks = 6;
  Start();
  for (int a = 0; a < 4; ++a) Grow(absl::StrCat("small-", a), 1);
  const Answer* big = Step("big", std::vector<std::int64_t>(5 * 64, 1));

  int num_batches = 0;
  for (; !big->is_done(); ++num_batches) {
    ASSERT_LT(num_batches, 10);
    for (int a = 0; a < 4; ++a) Step(absl::StrCat("small-", a), {1});
    RunBatch();
  }
}

TEST_F(BlocksTest, CountsEveryBlockOnce) {
  options_.num_blocks = 10;
  Start();
  Grow("a", 9);
  Grow("b", 4);
  EXPECT_EQ(executor_->gauges().num_blocks_used, 4);
  EXPECT_EQ(executor_->gauges().num_blocks, 10);

  Reset("a");
  EXPECT_EQ(executor_->gauges().num_blocks_used, 1);
  Reset("b");
  EXPECT_EQ(executor_->gauges().num_blocks_used, 0);
  EXPECT_EQ(executor_->gauges().num_sessions, 0);
}

}  // namespace
}  // namespace stepd
