// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/executor.h"

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/common/error.h"
#include "tests/server/engine/executor_fixture.h"

namespace stepd {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

class ExecutorTest : public ExecutorFixture {};

// --- Steps ------------------------------------------------------------------

TEST_F(ExecutorTest, AnswersEachStepFromTheWholeHistory) {
  Start();
  ReplayedActor alone("a", policy_options_);

  for (std::int64_t x = 0; x < 11; ++x) {
    const Answer* answer = Step("a", {x});
    RunBatch();

    EXPECT_THAT(answer->reply(), SameReply(alone.Step({x})));
  }
}

TEST_F(ExecutorTest, MergesActorsIntoOneForwardAndAnswersEachAsAlone) {
  Start();
  for (int a = 0; a < 6; ++a) Grow(absl::StrCat("actor-", a), a);
  const std::size_t num_before = policy_->forwards().size();

  std::vector<Answer*> answers;
  for (int a = 0; a < 6; ++a) {
    answers.push_back(Step(absl::StrCat("actor-", a), {100 + a}));
  }
  RunBatch();

  ASSERT_THAT(policy_->forwards(), SizeIs(num_before + 1));
  EXPECT_EQ(policy_->forwards().back().num_slices, 6);
  for (int a = 0; a < 6; ++a) {
    std::vector<std::int64_t> before(static_cast<std::size_t>(a));
    for (int i = 0; i < a; ++i) before[static_cast<std::size_t>(i)] = i;
    EXPECT_THAT(
        answers[static_cast<std::size_t>(a)]->reply(),
        SameReply(Replay(absl::StrCat("actor-", a), before, {100 + a})));
  }
}

TEST_F(ExecutorTest, SeveralStepsAtOnceEqualOneByOne) {
  Start();
  Grow("a", 3);

  Answer* answer = nullptr;
  StepTask task = Task("a", {7, 8, 9}, &answer);
  task.answer_all_steps = true;
  Submit(std::move(task));
  RunBatch();

  EXPECT_THAT(answer->reply(),
              SameReply(Replay("a", {0, 1, 2}, {7, 8, 9}, true)));
  EXPECT_THAT(answer->reply().actions, SizeIs(3));
}

TEST_F(ExecutorTest, KeepsTheOrderWithinASession) {
  Start();
  const Answer* first = Step("a", {1});
  const Answer* second = Step("a", {2});
  const Answer* third = Step("a", {3});

  RunBatch();
  EXPECT_TRUE(first->is_done());
  EXPECT_FALSE(second->is_done());
  RunBatch();
  EXPECT_TRUE(second->is_done());
  EXPECT_FALSE(third->is_done());
  RunBatch();

  EXPECT_THAT(third->reply(), SameReply(Replay("a", {1, 2}, {3})));
}

TEST_F(ExecutorTest, SaysWhichRepliesOfAStreamAreFollowedByAnother) {
  Start();
  const int first_stream = 0;
  const int second_stream = 0;
  std::vector<Answer*> answers;
  const auto submit = [&](const std::string& actor, const void* stream) {
    answers.emplace_back();
    StepTask task = Task(actor, {1}, &answers.back());
    task.stream = stream;
    if (actor == "cancelled") {
      task.is_cancelled = std::make_shared<std::atomic<bool>>(true);
    }
    Submit(std::move(task));
  };
  submit("a", &first_stream);
  submit("b", &second_stream);
  submit("alone", nullptr);
  submit("c", &first_stream);
  submit("also alone", nullptr);
  submit("cancelled", &second_stream);

  RunBatch();

  EXPECT_TRUE(answers[0]->reply().is_followed);
  EXPECT_FALSE(answers[1]->reply().is_followed);  // an error is no reply
  EXPECT_FALSE(answers[2]->reply().is_followed);
  EXPECT_FALSE(answers[3]->reply().is_followed);
  EXPECT_FALSE(answers[4]->reply().is_followed);
}

TEST_F(ExecutorTest, ReturnsEachTaskTheOutputsItAskedForOnly) {
  Start();
  Answer* none = nullptr;
  Answer* value = nullptr;
  Answer* both = nullptr;
  Submit(Task("none", {1}, &none));
  StepTask task = Task("value", {2}, &value);
  task.outputs = 1;
  Submit(std::move(task));
  task = Task("both", {3, 4}, &both);
  task.outputs = 3;
  task.answer_all_steps = true;
  Submit(std::move(task));
  RunBatch();

  EXPECT_THAT(none->reply().outputs, IsEmpty());
  EXPECT_THAT(
      value->reply(),
      SameReply(
          ReplayedActor("value", policy_options_).Step({2}, {}, false, 1)));
  EXPECT_THAT(
      both->reply(),
      SameReply(
          ReplayedActor("both", policy_options_).Step({3, 4}, {}, true, 3)));
}

TEST_F(ExecutorTest, DrawsFromSeedActorAndStepIndexAlone) {
  Start();
  SamplingParams sampling;
  sampling.temperature = 1.5F;
  sampling.seed = 99;
  sampling.num_actions = 3;
  ReplayedActor alone("a", policy_options_);

  for (std::int64_t x = 0; x < 20; ++x) {
    Answer* answer = nullptr;
    StepTask task = Task("a", {x, -x}, &answer);
    task.sampling = sampling;
    task.answer_all_steps = true;
    Submit(std::move(task));
    Step("neighbour", {x});
    RunBatch();

    EXPECT_THAT(answer->reply(),
                SameReply(alone.Step({x, -x}, sampling, true)));
  }
}

TEST_F(ExecutorTest, AnswersWithOutputsAloneWhereThePolicyHasNoActions) {
  policy_options_.num_actions = 0;
  Start();
  Answer* answer = nullptr;
  StepTask task = Task("a", {1, 2}, &answer);
  task.outputs = 3;
  task.answer_all_steps = true;

  Submit(std::move(task));
  RunBatch();

  EXPECT_EQ(answer->reply().num_answered, 2);
  EXPECT_THAT(answer->reply().actions, IsEmpty());
  EXPECT_THAT(
      answer->reply(),
      SameReply(ReplayedActor("a", policy_options_).Step({1, 2}, {}, true, 3)));
}

TEST_F(ExecutorTest, ServesStepsOfVaryingNumbersOfTokens) {
  policy_options_.min_tokens_per_step = 1;
  policy_options_.max_tokens_per_step = 5;
  options_.num_blocks = 20;
  options_.batching.max_batch_tokens = 8;
  Start();
  ReplayedActor a("a", policy_options_);
  ReplayedActor b("b", policy_options_);

  for (std::int64_t x = 0; x < 15; ++x) {  // together more than the pool
    const Answer* answer_a = Step("a", {x});
    const Answer* answer_b = Step("b", {x + 100});
    while (executor_->num_unfinished() > 0) RunBatch();

    EXPECT_THAT(answer_a->reply(), SameReply(a.Step({x})));
    EXPECT_THAT(answer_b->reply(), SameReply(b.Step({x + 100})));
  }
}

TEST_F(ExecutorTest, NeedsNoBlocksForAPolicyThatCachesNothing) {
  policy_options_.kv_bytes_per_token = 0;
  options_.num_blocks = 0;
  Start();
  Grow("a", 5);

  const Answer* answer = Step("a", {7});
  RunBatch();

  EXPECT_EQ(answer->reply().step_index, 6U);
  EXPECT_THAT(executor_->FindSession("a")->blocks, IsEmpty());
}

// --- What never runs ---------------------------------------------------------

TEST_F(ExecutorTest, DropsAnExpiredTaskBeforeAnyComputeAndOpensNoSession) {
  Start();
  Answer* answer = nullptr;
  StepTask task = Task("a", {1}, &answer);
  task.deadline = clock_.Now() + milliseconds(5);
  Submit(std::move(task));
  clock_.Advance(milliseconds(5));

  RunBatch();

  EXPECT_EQ(answer->status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(ReasonOf(answer->status()), reason::kDeadline);
  EXPECT_THAT(policy_->forwards(), IsEmpty());
  EXPECT_EQ(executor_->FindSession("a"), nullptr);
  EXPECT_THAT(observer_.records().errors, ElementsAre("DEADLINE"));
}

TEST_F(ExecutorTest, DropsACancelledTaskAndLeavesItsSessionAsItWas) {
  Start();
  Grow("a", 3);
  Answer* cancelled = nullptr;
  StepTask task = Task("a", {50}, &cancelled);
  auto flag = std::make_shared<std::atomic<bool>>(false);
  task.is_cancelled = flag;
  Submit(std::move(task));
  const Answer* next = Step("a", {3});
  flag->store(true);

  RunBatch();
  RunBatch();

  EXPECT_EQ(cancelled->status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(ReasonOf(cancelled->status()), reason::kCancelled);
  EXPECT_THAT(next->reply(), SameReply(Replay("a", {0, 1, 2}, {3})));
}

TEST_F(ExecutorTest, CancellingBetweenChunksLeavesNoTrace) {
  options_.batching.max_batch_tokens = 4;
  Start();
  Grow("a", 2);
  Answer* cancelled = nullptr;
  StepTask task = Task("a", std::vector<std::int64_t>(30, 9), &cancelled);
  auto flag = std::make_shared<std::atomic<bool>>(false);
  task.is_cancelled = flag;
  Submit(std::move(task));
  RunBatch();
  EXPECT_EQ(executor_->pool().num_used(), 8);
  flag->store(true);
  RunBatch();

  EXPECT_EQ(cancelled->status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(executor_->pool().num_used(), 1);
  const Answer* next = Step("a", {2});
  RunBatch();
  EXPECT_THAT(next->reply(), SameReply(Replay("a", {0, 1}, {2})));
}

TEST_F(ExecutorTest, RefusesStepsBeyondMaxSteps) {
  options_.context.max_steps = 3;
  Start();
  Grow("a", 2);

  const Answer* two_more = Step("a", {7, 8});
  RunBatch();
  const Answer* one_more = Step("a", {9});
  RunBatch();
  const Answer* over = Step("a", {10});
  RunBatch();

  EXPECT_EQ(two_more->status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(two_more->status()), reason::kContextFull);
  EXPECT_THAT(one_more->reply(), SameReply(Replay("a", {0, 1}, {9})));
  EXPECT_EQ(ReasonOf(over->status()), reason::kContextFull);
}

TEST_F(ExecutorTest, RefusesTokensBeyondThePolicysPositions) {
  policy_options_.min_tokens_per_step = 2;
  policy_options_.max_tokens_per_step = 2;
  policy_options_.max_tokens = 5;
  Start();
  Grow("a", 2);

  const Answer* over = Step("a", {7});
  RunBatch();

  EXPECT_EQ(ReasonOf(over->status()), reason::kContextFull);
  EXPECT_EQ(executor_->FindSession("a")->num_steps(), 2);
}

TEST_F(ExecutorTest, RefusesANewActorWhenAllSessionsAreOpen) {
  max_sessions_ = 2;
  Start();
  Grow("a", 1);
  Grow("b", 1);

  const Answer* unknown = Step("c", {1});
  const Answer* known = Step("a", {1});
  RunBatch();
  EXPECT_EQ(unknown->status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(unknown->status()), reason::kSessionsFull);
  EXPECT_TRUE(known->status().ok());

  Reset("b");
  const Answer* later = Step("c", {1});
  RunBatch();
  EXPECT_TRUE(later->status().ok());
  EXPECT_EQ(executor_->gauges().num_sessions, 2);
}

TEST_F(ExecutorTest, AFailedFirstStepLeavesRoomForAnotherSession) {
  max_sessions_ = 1;
  Start();
  policy_->FailForwards([](std::int64_t n) { return n == 0; });
  Step("a", {1});
  RunBatch();

  const Answer* answer = Step("b", {1});
  RunBatch();

  EXPECT_TRUE(answer->status().ok());
}

// --- Failures ----------------------------------------------------------------

TEST_F(ExecutorTest, AFailedForwardFailsItsBatchOnlyAndChangesNoSession) {
  Start();
  Grow("a", 3);
  const std::size_t num_forwards = policy_->forwards().size();
  policy_->FailForwards([num_forwards](std::int64_t n) {
    return n == static_cast<std::int64_t>(num_forwards);
  });

  const Answer* failed = Step("a", {50});
  const Answer* failed_new = Step("new", {50});
  RunBatch();
  const Answer* next = Step("a", {3});
  RunBatch();

  EXPECT_EQ(failed->status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(ReasonOf(failed->status()), reason::kInternal);
  EXPECT_FALSE(failed_new->status().ok());
  EXPECT_EQ(executor_->FindSession("new"), nullptr);
  EXPECT_THAT(next->reply(), SameReply(Replay("a", {0, 1, 2}, {3})));
}

TEST_F(ExecutorTest, TellsTheClientAnErrorIdAndTheObserverTheCause) {
  Start();
  policy_->FailForwards([](std::int64_t) { return true; });

  const Answer* failed = Step("a", {1});
  RunBatch();

  const RecordingObserver::Records records = observer_.records();
  ASSERT_THAT(records.forward_errors, SizeIs(1));
  const auto& [id, cause] = records.forward_errors[0];
  EXPECT_EQ(cause.message(), "told to fail");
  EXPECT_THAT(std::string(failed->status().message()), testing::HasSubstr(id));
  EXPECT_THAT(MetadataOf(failed->status()),
              ElementsAre(testing::Pair("error_id", id)));
  EXPECT_THAT(std::string(failed->status().message()),
              testing::Not(testing::HasSubstr("told")));
  EXPECT_THAT(records.errors, ElementsAre("INTERNAL"));
}

TEST_F(ExecutorTest, AForwardThatFailsInALaterChunkUndoesTheEarlierOnes) {
  options_.batching.max_batch_tokens = 4;
  Start();
  Grow("a", 3);
  policy_->FailForwards([](std::int64_t n) { return n == 5; });
  const Answer* failed = Step("a", std::vector<std::int64_t>(20, 9));
  for (int i = 0; i < 3; ++i) RunBatch();

  const Answer* next = Step("a", {3});
  RunBatch();

  EXPECT_EQ(ReasonOf(failed->status()), reason::kInternal);
  EXPECT_EQ(executor_->pool().num_used(), 1);
  EXPECT_THAT(next->reply(), SameReply(Replay("a", {0, 1, 2}, {3})));
}

// Answers whatever the test says.
class ScriptedRunner : public PolicyRunner {
 public:
  using Script = std::function<absl::Status(const StepBatch&, StepResult*)>;
  explicit ScriptedRunner(Script script) : script_(std::move(script)) {}
  absl::Status Forward(const StepBatch& batch, StepResult* result) override {
    return script_(batch, result);
  }
  void CopyBlock(std::int32_t, std::int32_t) override {}

 private:
  const Script script_;
};

TEST_F(ExecutorTest, AnExceptionOfThePolicyFailsTheBatch) {
  Start(std::make_unique<ScriptedRunner>(
      [](const StepBatch&, StepResult*) -> absl::Status {
        throw std::runtime_error("thrown");
      }));

  const Answer* failed = Step("a", {1});
  RunBatch();

  EXPECT_EQ(ReasonOf(failed->status()), reason::kInternal);
  EXPECT_EQ(observer_.records().forward_errors[0].second.message(), "thrown");
}

TEST_F(ExecutorTest, AResultWithoutAllRowsFailsTheBatch) {
  Start(std::make_unique<ScriptedRunner>(
      [](const StepBatch&, StepResult* result) {
        result->num_rows = 1;
        result->scores.assign(5, 0.0F);
        return absl::OkStatus();
      }));

  const Answer* complete = Step("a", {1});
  RunBatch();
  const Answer* first = Step("a", {1});
  const Answer* second = Step("b", {1});
  RunBatch();

  EXPECT_TRUE(complete->status().ok());
  EXPECT_EQ(ReasonOf(first->status()), reason::kInternal);
  EXPECT_EQ(ReasonOf(second->status()), reason::kInternal);
}

TEST_F(ExecutorTest, ScoresThatAreNoNumbersFailTheirTaskOnly) {
  Start();
  Grow("a", 2);
  Answer* failed = nullptr;
  StepTask task = Task("a", {kNanStep}, &failed);
  task.sampling.temperature = 1.0F;
  Submit(std::move(task));
  const Answer* neighbour = Step("b", {1});
  RunBatch();

  const Answer* next = Step("a", {2});
  RunBatch();

  EXPECT_EQ(failed->status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(ReasonOf(failed->status()), reason::kScores);
  EXPECT_TRUE(neighbour->status().ok());
  EXPECT_THAT(next->reply(), SameReply(Replay("a", {0, 1}, {2})));
}

// --- Reset -------------------------------------------------------------------

TEST_F(ExecutorTest, ResetStartsTheSessionAnewAndTouchesNoOther) {
  Start();
  Grow("a", 5);
  Grow("b", 5);

  const Answer* reset = Reset("a");
  EXPECT_TRUE(reset->status().ok());
  const Answer* a = Step("a", {9});
  const Answer* b = Step("b", {9});
  RunBatch();

  EXPECT_THAT(a->reply(), SameReply(Replay("a", {}, {9})));
  EXPECT_THAT(b->reply(), SameReply(Replay("b", {0, 1, 2, 3, 4}, {9})));
  EXPECT_THAT(observer_.records().session_ends,
              ElementsAre(SessionEnd::kReset));
}

TEST_F(ExecutorTest, ResetRunsInOrderWithTheStepsOfItsActor) {
  Start();
  std::vector<std::string> order;
  const auto note = [&order](const std::string& name) {
    return [&order, name](const auto&) { order.push_back(name); };
  };
  const auto admit = [this](stepd::Task task) {
    executor_->Admit(QueuedTask{std::move(task), clock_.Now()}, clock_.Now());
  };
  const auto step = [&](const std::string& name) {
    Answer unused;
    StepTask task = MakeFakeTask("a", {1}, policy_options_, &unused);
    task.done = note(name);
    return task;
  };

  admit(step("step 1"));
  admit(MakeReset("a", note("reset")));
  admit(step("step 2"));
  EXPECT_THAT(order, IsEmpty());
  RunBatch();
  EXPECT_THAT(order, ElementsAre("step 1", "reset"));
  EXPECT_EQ(executor_->FindSession("a")->num_steps(), 0);
  RunBatch();

  EXPECT_THAT(order, ElementsAre("step 1", "reset", "step 2"));
  EXPECT_EQ(executor_->FindSession("a")->num_steps(), 1);
}

TEST_F(ExecutorTest, ResetWaitsForALongTaskOfItsActor) {
  options_.batching.max_batch_tokens = 2;
  Start();
  const Answer* task = Step("a", {1, 2, 3});
  RunBatch();
  const Answer* reset = Reset("a");
  EXPECT_FALSE(reset->is_done());
  RunBatch();

  EXPECT_THAT(task->reply(), SameReply(Replay("a", {}, {1, 2, 3})));
  EXPECT_TRUE(reset->status().ok());
  EXPECT_EQ(executor_->FindSession("a"), nullptr);
}

TEST_F(ExecutorTest, ResetOfAnUnknownActorIsNoError) {
  Start();

  EXPECT_TRUE(Reset("nobody")->status().ok());

  EXPECT_EQ(executor_->FindSession("nobody"), nullptr);
  EXPECT_THAT(observer_.records().session_ends, IsEmpty());
  EXPECT_EQ(executor_->TakeNumFinished(), 1);
}

// --- Idle sessions -----------------------------------------------------------

TEST_F(ExecutorTest, IdleSessionsExpire) {
  options_.idle_timeout = milliseconds(100);
  Start();
  Grow("a", 2);
  clock_.Advance(milliseconds(60));
  Grow("b", 2);
  EXPECT_EQ(executor_->NextExpiry(), clock_.Now() + milliseconds(40));
  clock_.Advance(milliseconds(40));

  executor_->ExpireIdle(clock_.Now());

  EXPECT_EQ(executor_->FindSession("a"), nullptr);
  EXPECT_NE(executor_->FindSession("b"), nullptr);
  EXPECT_THAT(observer_.records().session_ends,
              ElementsAre(SessionEnd::kExpired));
  EXPECT_EQ(observer_.records().gauges.back().num_sessions, 1);
  EXPECT_EQ(executor_->pool().num_used(), 1);
}

TEST_F(ExecutorTest, ASessionWithQueuedTasksDoesNotExpire) {
  options_.idle_timeout = milliseconds(100);
  Start();
  Grow("a", 2);
  const Answer* answer = Step("a", {2});
  clock_.Advance(milliseconds(500));

  executor_->ExpireIdle(clock_.Now());
  RunBatch();

  EXPECT_THAT(answer->reply(), SameReply(Replay("a", {0, 1}, {2})));
}

TEST_F(ExecutorTest, ManySessionsExpireInSeveralGoes) {
  options_.idle_timeout = milliseconds(100);
  options_.num_blocks = 600;
  Start();
  for (int a = 0; a < 600; ++a) Step(absl::StrCat(a), {a});
  while (executor_->num_unfinished() > 0) RunBatch();
  clock_.Advance(milliseconds(100));

  int num_goes = 0;
  for (; executor_->NextExpiry() <= clock_.Now(); ++num_goes) {
    executor_->ExpireIdle(clock_.Now());
  }

  EXPECT_EQ(num_goes, 3);
  EXPECT_EQ(executor_->gauges().num_sessions, 0);
  EXPECT_EQ(executor_->pool().num_used(), 0);
}

TEST_F(ExecutorTest, AnIdleSessionIsSmall) {
  // 16 bytes more and docs/benchmarks.md's bytes of an idle session are no
  // longer reached: the allocator takes steps of 16.
  EXPECT_LE(sizeof(Session), 312U);
}

// --- What it reports ---------------------------------------------------------

TEST_F(ExecutorTest, ReportsBatchesAndSteps) {
  Start();
  Step("a", {1, 2, 3});
  Step("b", {1});
  clock_.Advance(milliseconds(2));

  RunBatch();

  const RecordingObserver::Records records = observer_.records();
  ASSERT_THAT(records.batches, SizeIs(1));
  EXPECT_EQ(records.batches[0].num_sessions, 2);
  EXPECT_EQ(records.batches[0].num_tokens, 4);
  EXPECT_EQ(records.batches[0].num_steps_completed, 4);
  ASSERT_THAT(records.steps, SizeIs(2));
  EXPECT_EQ(records.steps[0].queue_wait, milliseconds(2));
  EXPECT_EQ(records.gauges.back().num_sessions, 2);
  EXPECT_EQ(records.gauges.back().num_queued, 0);
  EXPECT_EQ(executor_->TakeNumFinished(), 2);
  EXPECT_EQ(executor_->TakeNumFinished(), 0);
}

}  // namespace
}  // namespace stepd
