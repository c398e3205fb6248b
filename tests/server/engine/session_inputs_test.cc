// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Inputs of whole sessions: who must give them, who must not, and that they
// live and end with the session's log.

#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/common/error.h"
#include "tests/server/engine/executor_fixture.h"

namespace stepd {
namespace {

class SessionInputsTest : public ExecutorFixture {
 protected:
  SessionInputsTest() {
    policy_options_.session_fields = {
        FieldSpec{"image", DType::kInt64, {}, {}, {}}};
  }

  // A step that gives the session input `image`.
  Answer* Open(const std::string& actor, const std::vector<std::int64_t>& xs,
               std::int64_t image, bool answer_all = false) {
    Answer* answer = nullptr;
    StepTask task = Task(actor, xs, &answer);
    task.session_inputs = EncodeFakeStep(image);
    task.answer_all_steps = answer_all;
    Submit(std::move(task));
    return answer;
  }

  // What an actor alone would be answered to the last of these calls.
  StepReply ReplayOpened(const std::string& actor, std::int64_t image,
                         const std::vector<std::vector<std::int64_t>>& calls,
                         bool answer_all = false) {
    ReplayedActor replayed(actor, policy_options_);
    replayed.Reset(EncodeFakeStep(image));
    StepReply reply;
    for (const auto& xs : calls) reply = replayed.Step(xs, {}, answer_all);
    return reply;
  }
};

TEST_F(SessionInputsTest, AnswersOfASessionDependOnItsInputs) {
  Start();
  const Answer* one = Open("a", {5}, 1);
  const Answer* two = Open("b", {5}, 2);
  RunBatch();
  const Answer* next = Step("a", {6});
  RunBatch();

  EXPECT_THAT(one->reply(), SameReply(ReplayOpened("a", 1, {{5}})));
  EXPECT_THAT(two->reply(), SameReply(ReplayOpened("b", 2, {{5}})));
  EXPECT_THAT(next->reply(), SameReply(ReplayOpened("a", 1, {{5}, {6}})));
}

TEST_F(SessionInputsTest, TheStepThatOpensASessionIsRepeatedToo) {
  Start();
  const auto open = [this](std::int64_t image) {
    Answer* answer = nullptr;
    StepTask task = Task("a", {5}, &answer);
    task.session_inputs = EncodeFakeStep(image);
    task.step_index = 0;
    Submit(std::move(task));
    RunBatch();
    return answer;
  };
  const Answer* first = open(1);
  const Answer* again = open(1);
  const Answer* other = open(2);

  EXPECT_THAT(again->reply(), SameReply(first->reply()));
  EXPECT_EQ(ReasonOf(other->status()), reason::kStepIndex);
}

TEST_F(SessionInputsTest, ASessionDoesNotOpenWithoutARequiredInput) {
  Start();
  const Answer* refused = Step("a", {5});
  RunBatch();

  EXPECT_EQ(refused->status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReasonOf(refused->status()), reason::kFieldMissing);
  EXPECT_THAT(MetadataOf(refused->status()),
              testing::Contains(testing::Pair("field", "image")));
  EXPECT_EQ(executor_->FindSession("a"), nullptr);
}

TEST_F(SessionInputsTest, ASessionOpensWithoutOptionalInputs) {
  policy_options_.session_fields[0].required = false;
  Start();
  const Answer* without = Step("a", {5});
  RunBatch();

  EXPECT_THAT(without->reply(), SameReply(Replay("a", {}, {5})));
}

TEST_F(SessionInputsTest, InputsOfASessionThatHasBegunAreRefused) {
  Start();
  Open("a", {5}, 1);
  RunBatch();
  const Answer* again = Open("a", {6}, 1);
  RunBatch();
  const Answer* next = Step("a", {7});
  RunBatch();

  EXPECT_EQ(again->status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(again->status()), reason::kSessionInputs);
  EXPECT_THAT(MetadataOf(again->status()),
              testing::Contains(testing::Pair("field", "image")));
  EXPECT_THAT(next->reply(), SameReply(ReplayOpened("a", 1, {{5}, {7}})));
}

TEST_F(SessionInputsTest, AStepBehindAnOpeningOneNeedsNoInputs) {
  Start();
  Open("a", {5}, 1);
  const Answer* next = Step("a", {6});
  const Answer* again = Open("a", {7}, 1);
  RunAll();

  EXPECT_THAT(next->reply(), SameReply(ReplayOpened("a", 1, {{5}, {6}})));
  EXPECT_EQ(ReasonOf(again->status()), reason::kSessionInputs);
}

TEST_F(SessionInputsTest, AnEvictedSessionIsRebuiltFromItsInputs) {
  options_.num_blocks = 3;
  policy_options_.num_prefix_tokens = 6;
  Start();
  Open("a", {0, 1}, 1);
  RunBatch();
  Open("b", {0}, 2);
  RunBatch();
  ASSERT_EQ(NumCached("a"), 0);
  ASSERT_EQ(executor_->FindSession("a")->prepared_inputs, nullptr);

  const Answer* rebuilt = Step("a", {2});
  RunBatch();

  EXPECT_THAT(rebuilt->reply(), SameReply(ReplayOpened("a", 1, {{0, 1}, {2}})));
  EXPECT_EQ(NumCached("a"), 9);
}

TEST_F(SessionInputsTest, AResetForgetsTheInputs) {
  Start();
  Open("a", {5}, 1);
  RunBatch();
  Reset("a");
  const Answer* without = Step("a", {5});
  RunBatch();
  const Answer* with_others = Open("a", {5}, 2);
  RunBatch();

  EXPECT_EQ(ReasonOf(without->status()), reason::kFieldMissing);
  EXPECT_THAT(with_others->reply(), SameReply(ReplayOpened("a", 2, {{5}})));
}

TEST_F(SessionInputsTest, AFailedFirstStepLeavesNothing) {
  Start();
  policy_->FailForwards([](std::int64_t n) { return n == 0; });
  const Answer* failed = Open("a", {5}, 1);
  RunBatch();
  const Answer* without = Step("a", {5});
  RunBatch();
  const Answer* with_others = Open("a", {5}, 2);
  RunBatch();

  EXPECT_EQ(failed->status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(ReasonOf(without->status()), reason::kFieldMissing);
  EXPECT_THAT(with_others->reply(), SameReply(ReplayOpened("a", 2, {{5}})));
}

TEST_F(SessionInputsTest, InputsThatCannotBePreparedFailTheStepAlone) {
  Start();
  const Answer* bad = Open("a", {5}, kBadInput);
  const Answer* good = Open("b", {5}, 1);
  RunBatch();

  EXPECT_EQ(bad->status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(executor_->FindSession("a"), nullptr);
  EXPECT_THAT(good->reply(), SameReply(ReplayOpened("b", 1, {{5}})));
}

TEST_F(SessionInputsTest, InputsArePreparedOnceAndDroppedWithTheSession) {
  Start();
  Open("a", {0}, 1);
  RunBatch();
  for (int i = 1; i < 5; ++i) {
    Step("a", {i});
    RunBatch();
  }
  EXPECT_EQ(policy_->num_inputs_prepared(), 1);
  EXPECT_EQ(policy_->num_prepared_inputs(), 1);

  Reset("a");

  EXPECT_EQ(policy_->num_prepared_inputs(), 0);
}

TEST_F(SessionInputsTest, PrefixTokensCountForLimitsAndBatches) {
  policy_options_.num_prefix_tokens = 6;
  policy_options_.max_tokens = 9;
  Start();
  Open("a", {0, 1}, 1);
  RunBatch();
  const Answer* last = Step("a", {2});
  RunBatch();
  const Answer* over = Step("a", {3});
  RunBatch();

  EXPECT_EQ(policy_->forwards()[0].num_tokens, 8);
  EXPECT_EQ(observer_.records().batches[0].num_tokens, 8);
  EXPECT_EQ(executor_->FindSession("a")->num_tokens, 9);
  EXPECT_TRUE(last->status().ok());
  EXPECT_EQ(ReasonOf(over->status()), reason::kContextFull);
}

TEST_F(SessionInputsTest, ALongOpeningCallIsCutBehindThePrefix) {
  policy_options_.num_prefix_tokens = 6;
  options_.batching.max_batch_tokens = 4;
  Start();
  const Answer* answer = Open("a", {0, 1, 2, 3, 4}, 1, /*answer_all=*/true);
  RunAll();

  EXPECT_THAT(answer->reply(),
              SameReply(ReplayOpened("a", 1, {{0, 1, 2, 3, 4}}, true)));
  EXPECT_EQ(policy_->forwards()[0].num_tokens, 7);
  EXPECT_EQ(policy_->forwards()[1].num_tokens, 4);
}

class RecomputingTest : public SessionInputsTest {
 protected:
  RecomputingTest() {
    policy_options_.recomputes = true;
    policy_options_.num_prefix_tokens = 6;
  }
};

TEST_F(RecomputingTest, EveryAnswerTakesAForwardOverTheWholeLog) {
  Start();
  Open("a", {0}, 1);
  RunBatch();
  const Answer* three = Open("b", {0, 1, 2}, 2, /*answer_all=*/true);
  RunAll();
  const Answer* last = Step("a", {1, 2});
  RunBatch();

  EXPECT_THAT(three->reply(),
              SameReply(ReplayOpened("b", 2, {{0, 1, 2}}, true)));
  EXPECT_THAT(last->reply(), SameReply(ReplayOpened("a", 1, {{0}, {1, 2}})));
  std::vector<int> tokens;
  for (const auto& forward : policy_->forwards()) {
    tokens.push_back(forward.num_tokens);
  }
  EXPECT_THAT(tokens, testing::ElementsAre(7, 7, 8, 9, 9));
}

TEST_F(RecomputingTest, AnIdleSessionHoldsNoBlocks) {
  Start();
  Open("a", {0, 1}, 1);
  RunBatch();

  EXPECT_EQ(executor_->pool().num_used(), 0);
  EXPECT_EQ(policy_->num_prepared_inputs(), 0);
  EXPECT_EQ(executor_->FindSession("a")->num_tokens, 8);
}

}  // namespace
}  // namespace stepd
