// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What an executor tells of the steps it finished.

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/common/error.h"
#include "server/engine/finished_step.h"
#include "tests/fakes/fake_journal.h"
#include "tests/server/engine/executor_fixture.h"

namespace stepd {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

class RecordingSink final : public FinishedStepSink {
 public:
  bool is_open() const override { return is_open_; }
  void Take(std::vector<FinishedStep> steps) override {
    ++num_batches_;
    for (FinishedStep& step : steps) steps_.push_back(std::move(step));
  }

  void set_open(bool is_open) { is_open_ = is_open; }
  int num_batches() const { return num_batches_; }
  const std::vector<FinishedStep>& steps() const { return steps_; }
  void Clear() { steps_.clear(); }

 private:
  bool is_open_ = true;
  int num_batches_ = 0;
  std::vector<FinishedStep> steps_;
};

class ExecutorTrajectoriesTest : public ExecutorFixture {
 protected:
  ExecutorTrajectoriesTest() { finished_steps_ = &sink_; }

  RecordingSink sink_;
};

TEST_F(ExecutorTrajectoriesTest, ABatchIsToldOnceItsStepsWithTheirActions) {
  Start();
  Answer* a = Step("a", {5});
  Answer* b = Step("b", {6});
  RunBatch();

  EXPECT_EQ(sink_.num_batches(), 1);
  ASSERT_THAT(sink_.steps(), SizeIs(2));
  for (const auto& [step, answer] :
       {std::pair(&sink_.steps()[0], a), std::pair(&sink_.steps()[1], b)}) {
    const StepReply reply = answer->reply();
    EXPECT_EQ(step->actor_id, step == &sink_.steps()[0] ? "a" : "b");
    EXPECT_EQ(step->epoch, reply.epoch);
    EXPECT_EQ(step->step_index, 0U);
    EXPECT_TRUE(step->is_answered);
    EXPECT_EQ(step->action, reply.actions[0]);
    EXPECT_EQ(step->log_prob, reply.log_probs[0]);
    EXPECT_EQ(step->model_version, 1U);
  }
  std::string five(8, '\0');
  five[0] = 5;
  EXPECT_EQ(sink_.steps()[0].inputs, five);
}

TEST_F(ExecutorTrajectoriesTest, StepsBeforeTheAnsweredOnesHaveNoAction) {
  options_.batching.max_batch_tokens = 2;  // in chunks
  Start();
  Grow("a", 2);
  sink_.Clear();
  Answer* answer = nullptr;
  StepTask task = Task("a", {1, 2, 3}, &answer);
  task.boundary = Boundary::kEpisode;
  Submit(std::move(task));
  RunAll();

  ASSERT_THAT(sink_.steps(), SizeIs(3));
  std::vector<std::uint64_t> indices;
  std::vector<bool> answered;
  std::vector<Boundary> boundaries;
  for (const FinishedStep& step : sink_.steps()) {
    indices.push_back(step.step_index);
    answered.push_back(step.is_answered);
    boundaries.push_back(step.boundary);
  }
  EXPECT_THAT(indices, ElementsAre(2, 3, 4));
  EXPECT_THAT(answered, ElementsAre(false, false, true));
  EXPECT_THAT(boundaries, ElementsAre(Boundary::kEpisode, Boundary::kNone,
                                      Boundary::kNone));
  EXPECT_EQ(sink_.steps()[2].action, answer->reply().actions[0]);
}

TEST_F(ExecutorTrajectoriesTest, TheStepThatOpensASessionHasItsInputs) {
  policy_options_.session_fields = {
      FieldSpec{"task", DType::kInt64, {}, {}, {}}};
  Start();
  Answer* answer = nullptr;
  StepTask task = Task("a", {1}, &answer);
  task.session_inputs = "12345678";
  Submit(std::move(task));
  RunBatch();
  Step("a", {2});
  RunBatch();

  ASSERT_THAT(sink_.steps(), SizeIs(2));
  EXPECT_EQ(sink_.steps()[0].session_inputs, "12345678");
  EXPECT_THAT(sink_.steps()[1].session_inputs, IsEmpty());
}

TEST_F(ExecutorTrajectoriesTest, WhatDidNotHappenOrHasNoSessionIsNotTold) {
  FakeJournal journal;
  journal_ = &journal;
  Start();
  Answer* first = nullptr;
  StepTask task = Task("a", {1}, &first);
  task.step_index = 0;
  task.epoch = 7;
  Submit(std::move(task));
  RunBatch();
  sink_.Clear();

  // Again, with a stored answer.
  Answer* again = nullptr;
  task = Task("a", {1}, &again);
  task.step_index = 0;
  task.epoch = 7;
  Submit(std::move(task));
  // An evaluation.
  Answer* evaluated = nullptr;
  task = Task("\xff", {1, 2}, &evaluated);
  task.is_ephemeral = true;
  task.answer_all_steps = true;
  task.evaluation = std::make_unique<const Evaluation>();
  Submit(std::move(task));
  RunAll();
  // A step that the journal does not take.
  journal.Break(Error(absl::StatusCode::kUnavailable, reason::kJournal, ""));
  Answer* failed = Step("a", {2});
  RunAll();

  EXPECT_TRUE(again->status().ok()) << again->status();
  EXPECT_TRUE(evaluated->status().ok()) << evaluated->status();
  EXPECT_FALSE(failed->status().ok());
  EXPECT_THAT(sink_.steps(), IsEmpty());
}

TEST_F(ExecutorTrajectoriesTest, StepsThatAreNotAnsweredCountAllTheSame) {
  for (const bool recomputes : {false, true}) {
    policy_options_.recomputes = recomputes;
    sink_.Clear();
    Start();
    Answer* unanswered = nullptr;
    StepTask task = Task("a", {1, 2}, &unanswered);
    task.answers_nothing = true;
    Submit(std::move(task));
    RunBatch();
    Answer* next = Step("a", {3});
    RunBatch();

    EXPECT_EQ(unanswered->reply().num_answered, 0);
    EXPECT_THAT(unanswered->reply().actions, IsEmpty());
    EXPECT_EQ(unanswered->reply().step_index, 2U);
    EXPECT_THAT(next->reply(), SameReply(Replay("a", {1, 2}, {3})));
    ASSERT_THAT(sink_.steps(), SizeIs(3));
    EXPECT_FALSE(sink_.steps()[1].is_answered);
    EXPECT_TRUE(sink_.steps()[2].is_answered);
    TearDown();
  }
}

TEST_F(ExecutorTrajectoriesTest, NobodyIsToldWhileNobodyAsks) {
  sink_.set_open(false);
  Start();
  Grow("a", 3);
  EXPECT_EQ(sink_.num_batches(), 0);
}

TEST_F(ExecutorTrajectoriesTest, AnEphemeralSessionsStepsAreTold) {
  Start();
  Answer* answer = nullptr;
  StepTask task = Task("a", {1, 2}, &answer);
  task.is_ephemeral = true;
  Submit(std::move(task));
  RunAll();

  ASSERT_THAT(sink_.steps(), SizeIs(2));
  EXPECT_EQ(sink_.steps()[1].step_index, 1U);
  EXPECT_EQ(sink_.steps()[1].action, answer->reply().actions[0]);
}

}  // namespace
}  // namespace stepd
