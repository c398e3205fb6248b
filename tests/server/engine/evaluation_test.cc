// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Evaluations: the numbers of an episode that was stepped, without a session.

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/common/error.h"
#include "server/engine/step_task.h"
#include "tests/fakes/fake_journal.h"
#include "tests/server/engine/executor_fixture.h"

namespace stepd {
namespace {

using testing::ElementsAreArray;
using testing::IsEmpty;

class EvaluationTest : public ExecutorFixture {
 protected:
  StepTask EvaluationOf(const std::vector<std::int64_t>& xs,
                        Evaluation evaluation, Answer** answer) {
    StepTask task = Task("\xff", xs, answer);
    task.is_ephemeral = true;
    task.answer_all_steps = true;
    task.evaluation = std::make_unique<const Evaluation>(std::move(evaluation));
    return task;
  }
};

SamplingParams AtTemperature(float temperature) {
  SamplingParams params;
  params.temperature = temperature;
  params.epsilon = 0.25F;
  params.seed = 3;
  return params;
}

TEST_F(EvaluationTest, GivesTheNumbersOfTheEpisodeThatWasStepped) {
  options_.batching.max_batch_tokens = 3;  // in chunks
  Start();
  const std::vector<std::int64_t> xs = {5, 6, 7, 8, 9, 10, 11};
  const std::vector<std::uint8_t> mask = {1, 0, 1, 1, 1};
  Evaluation evaluation;
  StepReply stepped;
  stepped.outputs.resize(4);
  Answer* evaluated_answer = nullptr;
  StepTask whole = EvaluationOf(xs, {}, &evaluated_answer);
  for (std::size_t i = 0; i < xs.size(); ++i) {
    Answer* answer = nullptr;
    StepTask task = Task("actor", {xs[i]}, &answer);
    task.sampling = AtTemperature(0.5F + static_cast<float>(i));
    task.action_mask = mask;
    task.outputs = 0b1111;
    evaluation.sampling.push_back(task.sampling);
    whole.action_mask.insert(whole.action_mask.end(), mask.begin(), mask.end());
    Submit(std::move(task));
    RunBatch();
    const StepReply reply = answer->reply();
    evaluation.actions.push_back(reply.actions[0]);
    stepped.log_probs.push_back(reply.log_probs[0]);
    for (std::size_t k = 0; k < 4; ++k) {
      stepped.outputs[k].insert(stepped.outputs[k].end(),
                                reply.outputs[k].begin(),
                                reply.outputs[k].end());
    }
  }

  whole.outputs = 0b1111;
  whole.evaluation = std::make_unique<const Evaluation>(evaluation);
  Submit(std::move(whole));
  RunAll();

  const StepReply evaluated = evaluated_answer->reply();
  EXPECT_THAT(evaluated.actions, ElementsAreArray(evaluation.actions));
  EXPECT_THAT(evaluated.log_probs, ElementsAreArray(stepped.log_probs));
  for (std::size_t k = 0; k < 4; ++k) {
    EXPECT_THAT(evaluated.outputs[k], ElementsAreArray(stepped.outputs[k]));
  }
}

TEST_F(EvaluationTest, IsNoSession) {
  max_sessions_ = 1;
  Start();
  Grow("actor", 3);
  const std::int32_t num_used = executor_->pool().num_used();

  Answer* answer = nullptr;
  Submit(EvaluationOf({1, 2, 3}, {}, &answer));
  RunBatch();

  ASSERT_TRUE(answer->status().ok()) << answer->status();
  EXPECT_THAT(answer->reply().actions, IsEmpty());
  EXPECT_EQ(executor_->FindSession("\xff"), nullptr);
  EXPECT_EQ(executor_->gauges().num_sessions, 1);
  EXPECT_EQ(executor_->pool().num_used(), num_used);
  EXPECT_THAT(observer_.records().session_ends, IsEmpty());
  EXPECT_EQ(NumCached("actor"), 3);
}

TEST_F(EvaluationTest, NeedsNoJournal) {
  FakeJournal journal;
  journal.Break(Error(absl::StatusCode::kUnavailable, reason::kJournal, ""));
  journal_ = &journal;
  Start();

  Answer* answer = nullptr;
  Submit(EvaluationOf({1, 2, 3}, {}, &answer));
  RunAll();

  EXPECT_TRUE(answer->status().ok()) << answer->status();
  EXPECT_EQ(journal.num_appends(), 0);
}

}  // namespace
}  // namespace stepd
