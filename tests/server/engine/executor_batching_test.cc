// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Which steps an executor puts into a batch, and when it fires.

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/executor.h"
#include "tests/server/engine/executor_fixture.h"

namespace stepd {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::SizeIs;

class BatchingTest : public ExecutorFixture {};

// --- Forming batches ---------------------------------------------------------

TEST_F(BatchingTest, TakesAtMostMaxBatchSessionsAndKeepsTheirOrder) {
  options_.batching.max_batch_sessions = 3;
  Start();
  std::vector<Answer*> answers;
  for (int a = 0; a < 7; ++a) answers.push_back(Step(absl::StrCat(a), {a}));

  RunBatch();
  for (std::size_t a = 0; a < 7; ++a) EXPECT_EQ(answers[a]->is_done(), a < 3);
  RunBatch();
  for (std::size_t a = 0; a < 7; ++a) EXPECT_EQ(answers[a]->is_done(), a < 6);
}

TEST_F(BatchingTest, TakesAtMostMaxBatchTokens) {
  policy_options_.min_tokens_per_step = 3;
  policy_options_.max_tokens_per_step = 3;
  options_.batching.max_batch_tokens = 8;
  Start();
  for (int a = 0; a < 5; ++a) Step(absl::StrCat(a), {a});

  RunBatch();
  RunBatch();
  RunBatch();

  std::vector<int> tokens;
  for (const auto& forward : policy_->forwards()) {
    tokens.push_back(forward.num_tokens);
  }
  EXPECT_THAT(tokens, ElementsAre(6, 6, 3));
}

TEST_F(BatchingTest, RunsAStepThatIsLargerThanTheBatchLimitAlone) {
  policy_options_.min_tokens_per_step = 6;
  policy_options_.max_tokens_per_step = 6;
  options_.batching.max_batch_tokens = 4;
  Start();
  const Answer* a = Step("a", {1, 2});
  const Answer* b = Step("b", {3});

  for (int i = 0; i < 3; ++i) RunBatch();

  EXPECT_TRUE(a->is_done());
  EXPECT_TRUE(b->is_done());
  for (const auto& forward : policy_->forwards()) {
    EXPECT_EQ(forward.num_slices, 1);
  }
}

TEST_F(BatchingTest, CutsALongTaskAtStepBoundariesAndAnswersAllOfIt) {
  policy_options_.min_tokens_per_step = 3;
  policy_options_.max_tokens_per_step = 3;
  options_.batching.max_batch_tokens = 7;  // two steps
  Start();
  Answer* answer = nullptr;
  StepTask task = Task("a", {1, 2, 3, 4, 5}, &answer);
  task.answer_all_steps = true;
  Submit(std::move(task));

  RunBatch();
  RunBatch();
  EXPECT_FALSE(answer->is_done());
  EXPECT_EQ(executor_->FindSession("a")->num_steps(), 0);
  RunBatch();

  EXPECT_THAT(answer->reply(),
              SameReply(Replay("a", {}, {1, 2, 3, 4, 5}, true)));
  EXPECT_THAT(policy_->forwards(), SizeIs(3));
}

TEST_F(BatchingTest, AnswersOnlyTheLastStepOfALongTaskUnlessAsked) {
  options_.batching.max_batch_tokens = 2;
  Start();
  const Answer* answer = Step("a", {1, 2, 3, 4, 5});

  for (int i = 0; i < 3; ++i) RunBatch();

  EXPECT_THAT(answer->reply(), SameReply(Replay("a", {}, {1, 2, 3, 4, 5})));
  int num_rows = 0;
  for (const auto& forward : policy_->forwards()) num_rows += forward.num_rows;
  EXPECT_EQ(num_rows, 1);
}

TEST_F(BatchingTest, SingleStepsDoNotWaitForALongTask) {
  options_.num_blocks = 1000;
  options_.batching.max_batch_tokens = 512;
  Start();
  const Answer* long_one = Step("long", std::vector<std::int64_t>(300, 5));

  int num_batches = 0;
  while (!long_one->is_done()) {
    const Answer* single = Step("single", {num_batches});
    RunBatch();
    ++num_batches;
    EXPECT_TRUE(single->is_done());
    EXPECT_LE(policy_->forwards().back().num_tokens, 1 + 16);
  }

  EXPECT_EQ(num_batches, 19);  // chunks of 16
}

TEST_F(BatchingTest, LongTasksTakeTheWholeBatchWhenAlone) {
  options_.num_blocks = 1000;
  options_.batching.max_batch_tokens = 512;
  Start();
  Step("long", std::vector<std::int64_t>(600, 5));

  RunBatch();

  EXPECT_EQ(policy_->forwards().back().num_tokens, 512);
}

TEST_F(BatchingTest, ALongTaskLeavesRoomForSingleStepsThatComeBack) {
  Start();
  Grow("short", 1);
  std::vector<std::int64_t> xs(100);
  Answer* long_task = Step("long", xs);

  // The actor of the single step has its answer, and will be back.
  RunBatch();
  EXPECT_EQ(policy_->forwards().back().num_tokens, 16);
  Step("short", {1});
  RunBatch();
  EXPECT_EQ(policy_->forwards().back().num_tokens, 16 + 1);

  clock_.Advance(milliseconds(10));
  RunBatch();
  EXPECT_EQ(policy_->forwards().back().num_tokens, 100 - 2 * 16);
  EXPECT_TRUE(long_task->is_done());
}

TEST_F(BatchingTest, ALongTaskIsNotStarvedBySingleStepsThatFillEveryBatch) {
  options_.batching.max_batch_sessions = 2;
  Start();
  const Answer* long_one = Step("long", {1, 2, 3});

  int num_batches = 0;
  for (; !long_one->is_done(); ++num_batches) {
    ASSERT_LT(num_batches, 4);
    for (int a = 0; a < 4; ++a) Step(absl::StrCat("single-", a), {1});
    RunBatch();
  }
}

TEST_F(BatchingTest, SingleStepsAreNotStarvedByLongTasksThatFillEveryBatch) {
  options_.num_blocks = 1000;
  options_.batching.max_batch_sessions = 1;
  options_.batching.max_batch_tokens = 2;
  Start();
  for (int a = 0; a < 3; ++a) {
    Step(absl::StrCat("long-", a), std::vector<std::int64_t>(20, a));
  }
  const Answer* single = Step("single", {1});

  RunBatch();
  RunBatch();

  EXPECT_TRUE(single->is_done());
}

TEST_F(BatchingTest, LongTasksTakeTurns) {
  options_.batching.max_batch_tokens = 2;
  Start();
  const Answer* longer = Step("longer", std::vector<std::int64_t>(40, 1));
  const Answer* shorter = Step("shorter", {1, 2, 3, 4});

  for (int i = 0; i < 4; ++i) RunBatch();

  EXPECT_TRUE(shorter->is_done());
  EXPECT_FALSE(longer->is_done());
}

// --- When a batch fires ------------------------------------------------------

TEST_F(BatchingTest, FiresAtOnceWithoutMaxWait) {
  Start();
  EXPECT_EQ(executor_->NextFire(clock_.Now()).at, kInfiniteFuture);
  Step("a", {1});

  EXPECT_EQ(executor_->NextFire(clock_.Now()).at, clock_.Now());
  RunBatch();

  EXPECT_EQ(observer_.records().batches.back().fire_reason, FireReason::kIdle);
}

class WaitingTest : public ExecutorFixture {
 protected:
  WaitingTest() { options_.batching.max_wait = milliseconds(5); }

  FireReason LastReason() {
    return observer_.records().batches.back().fire_reason;
  }
};

TEST_F(WaitingTest, FiresAtOnceWhenEveryLiveSessionHasCome) {
  Start();
  Step("a", {1});

  ASSERT_TRUE(IsDue());
  RunBatch();

  EXPECT_EQ(LastReason(), FireReason::kAllArrived);
}

TEST_F(WaitingTest, WaitsForALiveSessionButNotLongerThanMaxWait) {
  Start();
  Grow("a", 1);
  Step("b", {1});
  EXPECT_EQ(executor_->NextFire(clock_.Now()).at,
            clock_.Now() + milliseconds(5));
  clock_.Advance(milliseconds(4));
  EXPECT_FALSE(IsDue());
  clock_.Advance(milliseconds(1));
  ASSERT_TRUE(IsDue());
  RunBatch();
  EXPECT_EQ(LastReason(), FireReason::kWaited);
}

TEST_F(WaitingTest, FiresAsSoonAsTheLastLiveSessionComes) {
  Start();
  Grow("a", 1);
  Step("b", {1});
  ASSERT_FALSE(IsDue());
  Step("a", {1});

  ASSERT_TRUE(IsDue());
  RunBatch();

  EXPECT_EQ(LastReason(), FireReason::kAllArrived);
  EXPECT_EQ(policy_->forwards().back().num_slices, 2);
}

TEST_F(WaitingTest, DoesNotWaitForASessionThatStaysAway) {
  Start();
  Grow("away", 1);
  clock_.Advance(milliseconds(21));  // more than four times max_wait
  Step("b", {1});

  EXPECT_TRUE(IsDue());
}

TEST_F(WaitingTest, FiresWhenABatchLimitIsReached) {
  options_.batching.max_batch_sessions = 2;
  Start();
  Grow("live", 1);
  Step("a", {1});
  ASSERT_FALSE(IsDue());
  Step("b", {1});

  ASSERT_TRUE(IsDue());
  RunBatch();

  EXPECT_EQ(LastReason(), FireReason::kFull);
}

TEST_F(WaitingTest, FiresInTimeForTheEarliestDeadline) {
  Start();
  Grow("live", 1);
  Answer* answer = nullptr;
  StepTask task = Task("a", {1}, &answer);
  task.deadline = clock_.Now() + milliseconds(3);
  Submit(std::move(task));

  EXPECT_EQ(executor_->NextFire(clock_.Now()).at,
            clock_.Now() + milliseconds(3) - executor_->expected_batch());
  clock_.Advance(milliseconds(3) - MonotonicDuration(1));
  RunBatch();

  EXPECT_TRUE(answer->status().ok());
}

TEST_F(WaitingTest, TheOldestTaskThatIsLeftDecides) {
  options_.batching.max_batch_sessions = 2;
  Start();
  Grow("live", 1);
  Step("a", {1});
  Step("a", {2});  // becomes ready when the first has run
  clock_.Advance(milliseconds(2));
  Step("b", {1});
  RunBatch();

  EXPECT_EQ(executor_->NextFire(clock_.Now()).at,
            clock_.Now() + milliseconds(3));
}

TEST_F(WaitingTest, DoesNotWaitWhenDraining) {
  Start();
  Grow("live", 1);
  Step("a", {1});
  ASSERT_FALSE(IsDue());

  executor_->StartDraining();

  ASSERT_TRUE(IsDue());
  RunBatch();
  EXPECT_EQ(LastReason(), FireReason::kDraining);
}

// Without a max_wait, and with forwards that take time.
class PatientTest : public ExecutorFixture {
 protected:
  void Run() {
    options_.batching.max_wait.reset();
    Start();
    policy_->FailForwards([this](std::int64_t /*n*/) {
      clock_.Advance(forward_);
      return false;
    });
  }
  // "a" steps `count` times, each `away` after the answer to the last one.
  void StepRegularly(int count, MonotonicDuration away) {
    for (int i = 0; i < count; ++i) {
      Step("a", {i});
      RunBatch();
      clock_.Advance(away);
    }
  }
  MonotonicTime NextFire() { return executor_->NextFire(clock_.Now()).at; }

  MonotonicDuration forward_ = microseconds(200);
};

TEST_F(PatientTest, WaitsForASessionAsLongAsTwoBatchesTake) {
  Run();
  StepRegularly(20, microseconds(100));
  Step("b", {1});

  EXPECT_EQ(NextFire(), clock_.Now() + microseconds(300));
  clock_.Advance(microseconds(300));
  ASSERT_TRUE(IsDue());
  RunBatch();

  EXPECT_EQ(observer_.records().batches.back().fire_reason,
            FireReason::kWaited);
}

TEST_F(PatientTest, FiresAsSoonAsThatSessionComes) {
  Run();
  StepRegularly(20, microseconds(100));
  Step("b", {1});
  ASSERT_FALSE(IsDue());
  EXPECT_EQ(executor_->NextFire(clock_.Now()).num_missing, 1);
  Step("a", {1});

  EXPECT_TRUE(IsDue());
}

TEST_F(PatientTest, WaitsAtMostFourMillisecondsHoweverLongABatchTakes) {
  forward_ = milliseconds(30);
  Run();
  StepRegularly(20, microseconds(100));
  Step("b", {1});

  EXPECT_EQ(NextFire(), clock_.Now() + microseconds(3900));
}

TEST_F(PatientTest, DoesNotWaitForSessionsThatStayAwayLonger) {
  Run();
  StepRegularly(20, microseconds(600));
  Step("a", {1});
  RunBatch();
  Step("b", {1});

  EXPECT_TRUE(IsDue());
}

TEST_F(PatientTest, WaitsAgainOnceTheyComeBackSooner) {
  Run();
  StepRegularly(20, microseconds(600));
  StepRegularly(20, microseconds(100));
  Step("b", {1});

  EXPECT_FALSE(IsDue());
}

}  // namespace
}  // namespace stepd
