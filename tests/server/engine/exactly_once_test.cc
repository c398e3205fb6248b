// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Steps that say where in their session they belong.

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/common/error.h"
#include "server/engine/executor.h"
#include "server/engine/step_order.h"
#include "tests/server/engine/executor_fixture.h"

namespace stepd {
namespace {

using std::chrono::milliseconds;
using testing::Contains;
using testing::Pair;

class ExactlyOnceTest : public ExecutorFixture {
 protected:
  struct Place {
    std::optional<std::uint64_t> step_index;
    std::optional<std::uint64_t> epoch;
  };

  Answer* StepAt(Place place, const std::vector<std::int64_t>& xs,
                 float temperature = 0.0F) {
    Answer* answer = nullptr;
    StepTask task = Task("a", xs, &answer);
    task.step_index = place.step_index;
    task.epoch = place.epoch;
    task.sampling.temperature = temperature;
    Submit(std::move(task));
    return answer;
  }
  Answer* ResetTo(std::uint64_t epoch) {
    answers_.emplace_back();
    ResetTask reset = MakeFakeReset("a", &answers_.back());
    reset.epoch = epoch;
    SubmitOther(std::move(reset));
    return &answers_.back();
  }
  std::int64_t NumForwards() const {
    return static_cast<std::int64_t>(policy_->forwards().size());
  }
  void ExpectOutOfOrder(const Answer& answer, const std::string& expected) {
    EXPECT_EQ(answer.status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(ReasonOf(answer.status()), reason::kStepIndex);
    EXPECT_THAT(MetadataOf(answer.status()),
                Contains(Pair("expected", expected)));
  }
};

TEST_F(ExactlyOnceTest, ARetryOfTheLastStepGetsTheSameReplyAndChangesNothing) {
  Start();
  StepAt({0, 7}, {3});
  RunAll();
  Answer* first = StepAt({1, 7}, {4, 5}, 0.9F);
  RunAll();
  const std::int64_t num_forwards = NumForwards();

  Answer* retry = StepAt({1, 7}, {4, 5}, 0.9F);

  EXPECT_TRUE(retry->is_done());
  EXPECT_THAT(retry->reply(), SameReply(first->reply()));
  EXPECT_EQ(retry->reply().epoch, 7);
  EXPECT_EQ(retry->reply().served_from, first->reply().served_from);
  EXPECT_EQ(NumForwards(), num_forwards);
  EXPECT_EQ(executor_->FindSession("a")->num_steps(), 3);
}

TEST_F(ExactlyOnceTest, ARetryThatOvertakesItsFirstAttemptIsComputedOnce) {
  Start();
  Answer* first = StepAt({0, 1}, {3});
  Answer* retry = StepAt({0, 1}, {3});
  Answer* next = StepAt({1, 1}, {4});
  RunAll();

  EXPECT_THAT(retry->reply(), SameReply(first->reply()));
  EXPECT_THAT(next->reply(), SameReply(Replay("a", {3}, {4})));
  EXPECT_EQ(NumForwards(), 2);
}

TEST_F(ExactlyOnceTest, OtherContentAtTheLastIndexIsRefused) {
  Start();
  StepAt({0, 1}, {3});
  RunAll();

  ExpectOutOfOrder(*StepAt({0, 1}, {4}), "1");
  ExpectOutOfOrder(*StepAt({0, 1}, {3}, 0.5F), "1");
  EXPECT_EQ(executor_->FindSession("a")->num_steps(), 1);
}

TEST_F(ExactlyOnceTest, AStepThatDoesNotFollowIsRefusedWithTheIndexExpected) {
  Start();
  Grow("a", 3);

  ExpectOutOfOrder(*StepAt({4, {}}, {9}), "3");
  ExpectOutOfOrder(*StepAt({0, {}}, {0}), "3");  // stored replies are of
  ExpectOutOfOrder(*StepAt({2, {}}, {2}), "3");  // steps with an index
  EXPECT_EQ(executor_->FindSession("a")->num_steps(), 3);
}

TEST_F(ExactlyOnceTest, ALaterStepOfAnUnknownSessionIsRefused) {
  Start();
  Answer* answer = StepAt({5, 1}, {9});

  EXPECT_EQ(answer->status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReasonOf(answer->status()), reason::kSessionUnknown);
  EXPECT_THAT(MetadataOf(answer->status()), Contains(Pair("expected", "0")));
  EXPECT_EQ(executor_->FindSession("a"), nullptr);
}

TEST_F(ExactlyOnceTest, AStepWithoutAnIndexAdvancesAndForgetsTheStoredReply) {
  Start();
  StepAt({0, 1}, {3});
  Step("a", {4});
  RunAll();

  ExpectOutOfOrder(*StepAt({0, 1}, {3}), "2");
}

TEST_F(ExactlyOnceTest, TheFirstStepOfALaterEpochResetsTheSession) {
  Start();
  StepAt({0, 1}, {3});
  StepAt({1, 1}, {4});
  Answer* answer = StepAt({0, 2}, {5});
  RunAll();

  EXPECT_THAT(answer->reply(), SameReply(Replay("a", {}, {5})));
  EXPECT_EQ(answer->reply().epoch, 2);
  EXPECT_EQ(answer->reply().served_from, ServedFrom::kNew);
}

TEST_F(ExactlyOnceTest, ALateRetryOfAnEarlierEpochIsRefused) {
  Start();
  StepAt({0, 1}, {3});
  ResetTo(2);
  StepAt({0, 2}, {3});
  RunAll();

  ExpectOutOfOrder(*StepAt({0, 1}, {3}), "1");
  ExpectOutOfOrder(*StepAt({1, 1}, {3}), "1");
  EXPECT_EQ(executor_->FindSession("a")->epoch, 2);
}

TEST_F(ExactlyOnceTest, ALateRetryBetweenResetAndNextStepIsHarmless) {
  Start();
  StepAt({0, 1}, {3});
  ResetTo(2);
  StepAt({0, 1}, {3});  // opens a session of the old epoch again
  Answer* answer = StepAt({0, 2}, {8});
  RunAll();

  EXPECT_THAT(answer->reply(), SameReply(Replay("a", {}, {8})));
}

TEST_F(ExactlyOnceTest, ARetryOfAResetDoesNotTouchTheNextSession) {
  Start();
  StepAt({0, 1}, {3});
  ResetTo(2);
  StepAt({0, 2}, {4});
  ResetTo(2);
  Answer* answer = StepAt({1, 2}, {5});
  RunAll();

  EXPECT_THAT(answer->reply(), SameReply(Replay("a", {4}, {5})));
}

TEST_F(ExactlyOnceTest, TheSessionStaysWhenTheFirstStepOfTheNextEpochExpired) {
  Start();
  StepAt({0, 1}, {3});
  RunAll();
  Answer* answer = nullptr;
  StepTask task = Task("a", {9}, &answer);
  task.step_index = 0;
  task.epoch = 2;
  task.deadline = clock_.Now() - milliseconds(1);
  Submit(std::move(task));

  EXPECT_EQ(ReasonOf(answer->status()), reason::kDeadline);
  EXPECT_EQ(executor_->FindSession("a")->num_steps(), 1);
  EXPECT_EQ(executor_->FindSession("a")->epoch, 1);
}

TEST_F(ExactlyOnceTest, ASessionOutlivesTheStepThatFailedToEndIt) {
  Start();
  StepAt({0, 1}, {3});
  RunAll();
  policy_->FailForwards([](std::int64_t n) { return n == 1; });
  Answer* failed = StepAt({0, 2}, {9});
  RunAll();
  Answer* retry = StepAt({0, 1}, {3});
  Answer* next = StepAt({1, 1}, {4});
  RunAll();
  Answer* later = StepAt({0, 2}, {9});
  RunAll();

  EXPECT_EQ(ReasonOf(failed->status()), reason::kInternal);
  EXPECT_TRUE(retry->status().ok());
  EXPECT_THAT(next->reply(), SameReply(Replay("a", {3}, {4})));
  EXPECT_EQ(next->reply().served_from, ServedFrom::kLog);
  EXPECT_THAT(later->reply(), SameReply(Replay("a", {}, {9})));
}

TEST_F(ExactlyOnceTest, OneEndedSessionIsListedForOneLaterEpoch) {
  Start();
  StepAt({0, 1}, {3});
  RunAll();
  policy_->FailForwards([](std::int64_t n) { return n == 1; });
  StepAt({0, 2}, {9});
  RunAll();
  StepAt({0, 2}, {9});
  RunAll();

  const auto& ended = List("").ended;
  ASSERT_EQ(ended.size(), 1);
  EXPECT_EQ(ended[0].end, SessionEnd::kReset);
  EXPECT_EQ(ended[0].epoch, 1);
}

TEST_F(ExactlyOnceTest, EverySessionWithoutAnEpochIsGivenALaterOne) {
  options_.first_epoch = 100;
  Start();
  Answer* first = Step("a", {1});
  Answer* second = Step("a", {2});
  Reset("a");
  Answer* third = Step("a", {1});
  RunAll();

  EXPECT_EQ(first->reply().epoch, 100);
  EXPECT_EQ(second->reply().epoch, 100);
  EXPECT_EQ(third->reply().epoch, 101);
}

TEST_F(ExactlyOnceTest, AFailedStepCanBeTriedAgainAtTheSameIndex) {
  Start();
  StepAt({0, 1}, {3});
  RunAll();
  policy_->FailForwards([](std::int64_t n) { return n == 1; });
  Answer* failed = StepAt({1, 1}, {4});
  RunAll();
  Answer* retry = StepAt({1, 1}, {4});
  RunAll();

  EXPECT_EQ(ReasonOf(failed->status()), reason::kInternal);
  EXPECT_THAT(retry->reply(), SameReply(Replay("a", {3}, {4})));
}

TEST(ContentHashTest, EverythingThatDecidesTheReplyDecidesTheHash) {
  Answer unused;
  const auto make = [&unused] {
    StepTask task = MakeFakeTask("a", {1, 2}, {}, &unused);
    task.step_index = 5;
    return task;
  };
  const auto hash_of = [](const StepTask& task) {
    return ContentHash(task, task.session_inputs);
  };
  const std::uint64_t hash = hash_of(make());
  std::vector<StepTask> others(11);
  for (StepTask& other : others) other = make();
  others[0].steps.Append("x");
  others[1].session_inputs = "x";
  others[2].sampling.temperature = 1;
  others[3].sampling.num_actions = 1;
  others[4].sampling.seed = 1;
  others[5].outputs = 1;
  others[6].answer_all_steps = true;
  others[7].boundary = Boundary::kTask;
  others[8].sampling.top_k = 1;
  others[9].sampling.epsilon = 0.5F;
  others[10].action_mask = {1, 0, 1, 1, 1};

  StepTask same = make();
  same.deadline = MonotonicTime(milliseconds(1));
  EXPECT_EQ(hash_of(same), hash);
  for (const StepTask& other : others) EXPECT_NE(hash_of(other), hash);
}

class BoundaryTest : public ExecutorFixture {
 protected:
  Answer* StepAfter(Boundary boundary, const std::vector<std::int64_t>& xs) {
    Answer* answer = nullptr;
    StepTask task = Task("a", xs, &answer);
    task.boundary = boundary;
    task.answer_all_steps = true;
    Submit(std::move(task));
    return answer;
  }
};

TEST_F(BoundaryTest, ATaskForgetsTheContextAndTheSessionGoesOn) {
  Start();
  Grow("a", 6);
  Answer* answer = StepAfter(Boundary::kTask, {7, 8});
  Answer* next = Step("a", {9});
  RunAll();

  const StepReply alone = Replay("a", {}, {7, 8}, true);
  EXPECT_EQ(answer->reply().actions, alone.actions);
  EXPECT_EQ(answer->reply().step_index, 8);
  EXPECT_EQ(next->reply().actions, Replay("a", {7, 8}, {9}).actions);
  EXPECT_EQ(next->reply().step_index, 9);
  EXPECT_EQ(NumCached("a"), 3);
}

TEST_F(BoundaryTest, AnEpisodeIsForgottenOnlyIfConfigured) {
  Start();
  Grow("a", 3);
  Answer* kept = StepAfter(Boundary::kEpisode, {7});
  RunAll();
  EXPECT_THAT(kept->reply(), SameReply(Replay("a", {0, 1, 2}, {7}, true)));
}

TEST_F(BoundaryTest, AnEpisodeIsForgottenIfConfigured) {
  options_.context.forget_at = Boundary::kEpisode;
  Start();
  Grow("a", 3);
  Answer* forgotten = StepAfter(Boundary::kEpisode, {7});
  RunAll();
  EXPECT_EQ(forgotten->reply().actions, Replay("a", {}, {7}, true).actions);
}

TEST_F(BoundaryTest, AFullContextTakesAStepThatForgetsIt) {
  options_.context.max_steps = 4;
  Start();
  Grow("a", 4);
  Answer* full = Step("a", {5});
  Answer* answer = StepAfter(Boundary::kTask, {6});
  RunAll();

  EXPECT_EQ(ReasonOf(full->status()), reason::kContextFull);
  EXPECT_EQ(answer->reply().actions, Replay("a", {}, {6}, true).actions);
}

TEST_F(BoundaryTest, AFailedStepLeavesTheOldContext) {
  Start();
  Grow("a", 3);
  policy_->FailForwards([](std::int64_t n) { return n == 3; });
  Answer* failed = StepAfter(Boundary::kTask, {7});
  RunAll();
  Answer* next = Step("a", {8});
  RunAll();

  EXPECT_FALSE(failed->status().ok());
  EXPECT_THAT(next->reply(), SameReply(Replay("a", {0, 1, 2}, {8})));
}

}  // namespace
}  // namespace stepd
