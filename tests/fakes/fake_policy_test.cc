// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The fake guards the tests of the engine: it must find what it claims to.

#include "tests/fakes/fake_policy.h"

#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace stepd {
namespace {

using testing::IsEmpty;

class FakePolicyTest : public testing::Test {
 protected:
  FakePolicyTest() {
    RunnerOptions options;
    options.num_blocks = 8;
    runner_ = *policy_.CreateRunner(options);
  }

  SessionSlice Slice(const std::vector<std::int32_t>& blocks, int num_cached,
                     std::int64_t x) {
    steps_.push_back(std::make_unique<std::string>(EncodeFakeStep(x)));
    SessionSlice slice;
    slice.steps = {*steps_.back()};
    slice.num_cached_tokens = num_cached;
    slice.blocks = blocks;
    slice.num_answered = 1;
    return slice;
  }
  void Run(std::vector<SessionSlice> slices) {
    StepBatch batch;
    batch.slices = std::move(slices);
    EXPECT_TRUE(runner_->Forward(batch, &result_).ok());
  }

  FakePolicy policy_;
  std::unique_ptr<PolicyRunner> runner_;
  std::vector<std::unique_ptr<std::string>> steps_;
  StepResult result_;
  const std::vector<std::int32_t> mine_ = {2, 5};
  const std::vector<std::int32_t> other_ = {3, 4};
};

TEST_F(FakePolicyTest, AnswersFromTheHistoryInTheBlocks) {
  FakeHistory history(policy_.options());
  for (int i = 0; i < 8; ++i) {
    Run({Slice(mine_, i, i)});
    history.Append(EncodeFakeStep(i));
    EXPECT_EQ(result_.scores, history.Scores());
  }
  EXPECT_THAT(policy_.violations(), IsEmpty());
}

TEST_F(FakePolicyTest, FindsABlockOfAnotherSession) {
  Run({Slice(mine_, 0, 1), Slice(other_, 0, 2)});
  Run({Slice(mine_, 1, 1), Slice(other_, 1, 2)});
  ASSERT_THAT(policy_.violations(), IsEmpty());

  for (int i = 2; i < 5; ++i) Run({Slice(mine_, i, 1)});
  const std::vector<std::int32_t> mixed = {other_[0], mine_[1]};
  Run({Slice(mixed, 5, 1)});

  EXPECT_FALSE(policy_.violations().empty());
}

TEST_F(FakePolicyTest, FindsATokenThatWasNeverWritten) {
  Run({Slice(mine_, 0, 1)});

  Run({Slice(mine_, 3, 1)});

  EXPECT_FALSE(policy_.violations().empty());
}

TEST_F(FakePolicyTest, FindsATableThatIsTooShort) {
  const std::vector<std::int32_t> empty;
  Run({Slice(empty, 0, 1)});

  EXPECT_FALSE(policy_.violations().empty());
}

TEST_F(FakePolicyTest, FindsABlockThatTwoSessionsWrite) {
  Run({Slice(mine_, 0, 1), Slice(mine_, 0, 2)});

  EXPECT_FALSE(policy_.violations().empty());
}

TEST_F(FakePolicyTest, SpoilsTheBlocksOfAForwardThatFails) {
  policy_.FailForwards([](std::int64_t n) { return n == 1; });
  Run({Slice(mine_, 0, 1)});
  StepBatch batch;
  batch.slices = {Slice(mine_, 1, 2)};
  EXPECT_FALSE(runner_->Forward(batch, &result_).ok());

  Run({Slice(mine_, 2, 3)});  // as if the failed step counted

  EXPECT_FALSE(policy_.violations().empty());
}

}  // namespace
}  // namespace stepd
