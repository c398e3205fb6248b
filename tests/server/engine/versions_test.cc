// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What becomes of sessions when their executor's weights change.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/common/error.h"
#include "tests/server/engine/executor_fixture.h"
#include "tests/server/engine/versions_fixture.h"

namespace stepd {
namespace {

using std::chrono::milliseconds;
using ::testing::Each;
using ::testing::ElementsAre;

class VersionsTest : public ExecutorFixture {
 protected:
  void StartUnder(KvPolicy kv_policy) {
    options_.kv_policy = kv_policy;
    versions_ =
        std::make_unique<FakeVersions>(policy_options_, options_.num_blocks);
    policy_options_.weights = 1;
    policy_ = std::make_unique<FakePolicy>(policy_options_);
    budget_ = std::make_unique<SessionBudget>(max_sessions_);
    executor_ = std::make_unique<Executor>(
        Executor::Parts{versions_->Get(1), versions_->MakeRunner(1),
                        budget_.get(), &observer_, &clock_},
        options_);
  }
  void TearDown() override {
    if (executor_ == nullptr) return;
    RunAll();
    executor_.reset();
    for (const Answer& answer : answers_) EXPECT_EQ(answer.count(), 1);
  }

  void RollOut(std::uint64_t stable) {
    versions_->RollOut(stable, executor_.get());
  }
  int NumExecutors(std::uint64_t version) {
    return versions_->Get(version)->num_executors();
  }
  std::int64_t NumSessions(std::uint64_t version) {
    return versions_->Get(version)->tally()->num_sessions.load();
  }

  // The next step of `actor`, and its answer.
  StepReply RunStep(const std::string& actor, std::int64_t x,
                    std::optional<KvPolicy> kv_policy = std::nullopt) {
    Answer* answer = SubmitStep(actor, x, kv_policy);
    while (!answer->is_done()) RunBatch();
    EXPECT_TRUE(answer->status().ok()) << answer->status();
    return answer->status().ok() ? answer->reply() : StepReply();
  }

  Answer* SubmitStep(const std::string& actor, std::int64_t x,
                     std::optional<KvPolicy> kv_policy) {
    Answer* answer = nullptr;
    StepTask task = Task(actor, {x}, &answer);
    task.version.kv_policy = kv_policy;
    Submit(std::move(task));
    return answer;
  }

  // What the last of these (step, version) is answered.
  struct Made {
    std::int64_t x;
    std::uint64_t version;
  };
  StepReply Expected(const std::vector<Made>& made,
                     std::uint64_t num_steps = 0) {
    FakeHistory history(policy_options_);
    for (const Made& step : made) {
      history.UseWeights(step.version);
      history.Append(EncodeFakeStep(step.x));
    }
    StepReply reply;
    const std::uint64_t steps = num_steps == 0 ? made.size() : num_steps;
    const std::vector<float> scores = history.Scores();
    reply.num_answered = 1;
    reply.actions = {std::max_element(scores.begin(), scores.end()) -
                     scores.begin()};
    reply.log_probs = {0.0F};
    reply.step_index = steps;
    return reply;
  }

  std::unique_ptr<FakeVersions> versions_;
};

#define EXPECT_VERSIONS(reply, model, min, max) \
  do {                                          \
    const StepReply once = (reply);             \
    EXPECT_EQ(once.model_version, model);       \
    EXPECT_EQ(once.context_version_min, min);   \
    EXPECT_EQ(once.context_version_max, max);   \
  } while (false)

// ---- pin
// ----------------------------------------------------------------------

TEST_F(VersionsTest, APinnedSessionFinishesItsContextUnderTheOldWeights) {
  StartUnder(KvPolicy::kPin);
  RunStep("a", 10);
  RollOut(2);

  const StepReply old = RunStep("a", 11);
  const StepReply opened = RunStep("b", 20);

  EXPECT_THAT(old, SameReply(Expected({{10, 1}, {11, 1}})));
  EXPECT_VERSIONS(old, 1, 1, 1);
  EXPECT_THAT(opened, SameReply(Expected({{20, 2}})));
  EXPECT_VERSIONS(opened, 2, 2, 2);
  EXPECT_EQ(NumSessions(1), 1);
  EXPECT_EQ(NumSessions(2), 1);
}

TEST_F(VersionsTest, APinnedSessionBeginsItsNextEpochUnderTheNewWeights) {
  StartUnder(KvPolicy::kPin);
  RunStep("a", 10);
  RollOut(2);
  Reset("a");

  const StepReply reply = RunStep("a", 11);

  EXPECT_THAT(reply, SameReply(Expected({{11, 2}})));
  EXPECT_VERSIONS(reply, 2, 2, 2);
}

TEST_F(VersionsTest, APinnedSessionTakesTheNewWeightsWhenItsContextIsRebuilt) {
  options_.context.max_steps = 4;
  options_.context.keep_steps = 2;
  StartUnder(KvPolicy::kPin);
  for (int x = 0; x < 3; ++x) RunStep("a", x);
  RollOut(2);

  const StepReply last = RunStep("a", 3);
  const StepReply first = RunStep("a", 4);

  EXPECT_VERSIONS(last, 1, 1, 1);
  EXPECT_THAT(first, SameReply(Expected({{3, 2}, {4, 2}}, 5)));
  EXPECT_VERSIONS(first, 2, 2, 2);
  EXPECT_EQ(NumExecutors(1), 0);
}

TEST_F(VersionsTest, APinnedSessionIsRebuiltUnderTheOldWeightsAfterAnEviction) {
  options_.num_blocks = 2;
  StartUnder(KvPolicy::kPin);
  for (int x = 0; x < 4; ++x) RunStep("a", x);
  RollOut(2);
  for (int x = 0; x < 5; ++x) RunStep("b", x);
  ASSERT_EQ(NumCached("a"), 0);

  const StepReply reply = RunStep("a", 4);

  EXPECT_THAT(reply,
              SameReply(Expected({{0, 1}, {1, 1}, {2, 1}, {3, 1}, {4, 1}})));
  EXPECT_VERSIONS(reply, 1, 1, 1);
}

TEST_F(VersionsTest, AFailedRebuildOfAContextLeavesTheSessionPinned) {
  options_.context.max_steps = 4;
  options_.context.keep_steps = 2;
  StartUnder(KvPolicy::kPin);
  for (int x = 0; x < 3; ++x) RunStep("a", x);
  RollOut(2);
  // Its second step begins a context, under version 2.
  Answer* two = Step("a", {3, 4});
  versions_->Policy(2)->FailForwards([](std::int64_t) { return true; });
  while (!two->is_done()) RunBatch();
  EXPECT_EQ(ReasonOf(two->status()), reason::kInternal);

  const StepReply reply = RunStep("a", 3);

  EXPECT_THAT(reply, SameReply(Expected({{0, 1}, {1, 1}, {2, 1}, {3, 1}})));
  EXPECT_VERSIONS(reply, 1, 1, 1);
}

TEST_F(VersionsTest, OldWeightsGoWhenTheLastSessionLeavesThem) {
  StartUnder(KvPolicy::kPin);
  RunStep("a", 10);
  RunStep("b", 20);
  RollOut(2);
  EXPECT_EQ(NumExecutors(1), 1);
  Reset("a");
  EXPECT_EQ(NumExecutors(1), 1);
  Reset("b");
  EXPECT_EQ(NumExecutors(1), 0);
  EXPECT_EQ(NumSessions(1), 0);
}

TEST_F(VersionsTest, OldWeightsGoWhenTheLastSessionExpires) {
  options_.idle_timeout = milliseconds(5);
  StartUnder(KvPolicy::kPin);
  RunStep("a", 10);
  RollOut(2);
  clock_.Advance(milliseconds(6));
  executor_->ExpireIdle(clock_.Now());
  EXPECT_EQ(NumExecutors(1), 0);
}

TEST_F(VersionsTest, AnEphemeralSessionHoldsNoWeights) {
  StartUnder(KvPolicy::kPin);
  Answer* answer = nullptr;
  StepTask task = Task("a", {1, 2}, &answer);
  task.is_ephemeral = true;
  Submit(std::move(task));
  RunBatch();
  RollOut(2);
  EXPECT_VERSIONS(answer->reply(), 1, 1, 1);
  EXPECT_EQ(NumExecutors(1), 0);
}

TEST_F(VersionsTest, ATaskThatHasStartedEndsUnderItsWeights) {
  options_.batching.max_batch_tokens = 2;
  StartUnder(KvPolicy::kRecompute);
  Answer* answer = Step("a", {0, 1, 2, 3, 4});
  RunBatch();
  RollOut(2);
  while (!answer->is_done()) RunBatch();
  EXPECT_VERSIONS(answer->reply(), 1, 1, 1);
  EXPECT_EQ(NumExecutors(1), 0);
  EXPECT_VERSIONS(RunStep("a", 5), 2, 2, 2);
}

// ---- keep and recompute
// -------------------------------------------------------

TEST_F(VersionsTest, AKeptSessionGoesOnOverTheKeysOfTheOldWeights) {
  StartUnder(KvPolicy::kKeep);
  RunStep("a", 10);
  RollOut(2);
  EXPECT_EQ(NumExecutors(1), 0);

  const StepReply reply = RunStep("a", 11);

  EXPECT_THAT(reply, SameReply(Expected({{10, 1}, {11, 2}})));
  EXPECT_VERSIONS(reply, 2, 1, 2);
}

TEST_F(VersionsTest, ATaskThatFailsHalfwayLeavesNoVersionInItsContext) {
  options_.batching.max_batch_tokens = 2;
  StartUnder(KvPolicy::kKeep);
  RollOut(2);
  RunStep("a", 10);
  RollOut(1);
  Answer* answer = nullptr;
  StepTask task = Task("a", {11, 12, 13}, &answer);
  auto is_cancelled = std::make_shared<std::atomic<bool>>(false);
  task.is_cancelled = is_cancelled;
  Submit(std::move(task));
  RunBatch();  // two of its steps, under version 1
  is_cancelled->store(true);
  RunBatch();
  ASSERT_EQ(ReasonOf(answer->status()), reason::kCancelled);
  RollOut(2);

  const StepReply next = RunStep("a", 14);

  EXPECT_THAT(next, SameReply(Expected({{10, 2}, {14, 2}})));
  EXPECT_VERSIONS(next, 2, 2, 2);
}

TEST_F(VersionsTest, AKeptSessionThatIsRebuiltSaysThatItsKeysAreNew) {
  options_.num_blocks = 1;
  StartUnder(KvPolicy::kKeep);
  RunStep("a", 10);
  RollOut(2);
  RunStep("b", 20);
  ASSERT_EQ(NumCached("a"), 0);

  const StepReply reply = RunStep("a", 11);

  EXPECT_THAT(reply, SameReply(Expected({{10, 2}, {11, 2}})));
  EXPECT_VERSIONS(reply, 2, 2, 2);
}

TEST_F(VersionsTest, ARecomputedSessionIsRebuiltUnderTheNewWeights) {
  StartUnder(KvPolicy::kRecompute);
  RunStep("a", 10);
  RunStep("a", 11);
  RollOut(2);
  EXPECT_EQ(NumExecutors(1), 0);

  const StepReply reply = RunStep("a", 12);

  EXPECT_THAT(reply, SameReply(Expected({{10, 2}, {11, 2}, {12, 2}})));
  EXPECT_VERSIONS(reply, 2, 2, 2);
  EXPECT_EQ(reply.served_from, ServedFrom::kLog);
  EXPECT_EQ(RunStep("a", 13).served_from, ServedFrom::kCache);
}

TEST_F(VersionsTest, ARolledBackSessionIsNotServedFromTheOtherWeightsKeys) {
  StartUnder(KvPolicy::kRecompute);
  RunStep("a", 10);
  RollOut(2);
  RunStep("a", 11);
  RollOut(1);

  const StepReply reply = RunStep("a", 12);

  EXPECT_THAT(reply, SameReply(Expected({{10, 1}, {11, 1}, {12, 1}})));
  EXPECT_VERSIONS(reply, 1, 1, 1);
}

TEST_F(VersionsTest, ARecomputedSessionWhoseStepFailsIsStillRebuiltAsAWhole) {
  options_.batching.max_batch_tokens = 2;
  StartUnder(KvPolicy::kRecompute);
  for (int x = 0; x < 4; ++x) RunStep("a", x);
  RollOut(2);
  Answer* answer = Step("a", {4});
  RunBatch();
  RunBatch();
  versions_->Policy(2)->FailForwards([](std::int64_t) { return true; });
  while (!answer->is_done()) RunBatch();
  versions_->Policy(2)->FailForwards(nullptr);
  RollOut(3);

  const StepReply reply = RunStep("a", 4);

  EXPECT_THAT(reply,
              SameReply(Expected({{0, 3}, {1, 3}, {2, 3}, {3, 3}, {4, 3}})));
  EXPECT_VERSIONS(reply, 3, 3, 3);
}

// Everything that a runner makes of a session's inputs ends before the runner.
TEST_F(VersionsTest, InputsArePreparedAgainByTheNewWeights) {
  for (const KvPolicy kv_policy :
       {KvPolicy::kPin, KvPolicy::kKeep, KvPolicy::kRecompute}) {
    policy_options_.session_fields = {
        FieldSpec{"image", DType::kInt64, {}, {}, {}}};
    StartUnder(kv_policy);
    for (const std::string actor : {"a", "b"}) {
      Answer* answer = nullptr;
      StepTask task = Task(actor, {1}, &answer);
      task.session_inputs = EncodeFakeStep(7);
      Submit(std::move(task));
    }
    RunBatch();
    RollOut(2);
    EXPECT_EQ(NumExecutors(1), kv_policy == KvPolicy::kPin ? 1 : 0);
    EXPECT_EQ(RunStep("a", 2).model_version,
              kv_policy == KvPolicy::kPin ? 1U : 2U);
    Reset("a");
    Reset("b");
    EXPECT_EQ(NumExecutors(1), 0);
    TearDown();
  }
}

// ---- a policy per session
// --------------------------------------------------------

TEST_F(VersionsTest, SessionsFollowThePolicyThatTheirStepsSay) {
  StartUnder(KvPolicy::kPin);
  RunStep("pinned", 10);
  RunStep("kept", 10, KvPolicy::kKeep);
  RunStep("kept", 11);  // says nothing, changes nothing
  RunStep("recomputed", 10, KvPolicy::kRecompute);
  RollOut(2);

  EXPECT_VERSIONS(RunStep("pinned", 12), 1, 1, 1);
  const StepReply kept = RunStep("kept", 12);
  EXPECT_THAT(kept, SameReply(Expected({{10, 1}, {11, 1}, {12, 2}})));
  EXPECT_VERSIONS(kept, 2, 1, 2);
  const StepReply recomputed = RunStep("recomputed", 12);
  EXPECT_THAT(recomputed, SameReply(Expected({{10, 2}, {12, 2}})));
  EXPECT_VERSIONS(recomputed, 2, 2, 2);
}

TEST_F(VersionsTest, ASessionThatIsPinnedByItsStepsHoldsItsWeights) {
  StartUnder(KvPolicy::kKeep);
  RunStep("pinned", 10, KvPolicy::kPin);
  RunStep("other", 20);
  RollOut(2);
  EXPECT_EQ(NumExecutors(1), 1);

  EXPECT_VERSIONS(RunStep("pinned", 11), 1, 1, 1);
  EXPECT_VERSIONS(RunStep("other", 21), 2, 1, 2);
  const StepReply freed = RunStep("pinned", 12, KvPolicy::kKeep);

  EXPECT_THAT(freed, SameReply(Expected({{10, 1}, {11, 1}, {12, 2}})));
  EXPECT_VERSIONS(freed, 2, 1, 2);
  EXPECT_EQ(NumExecutors(1), 0);
}

TEST_F(VersionsTest, ASessionIsPinnedToTheWeightsOfTheStepThatSaysSo) {
  StartUnder(KvPolicy::kPin);
  RunStep("a", 10, KvPolicy::kKeep);
  RollOut(2);
  EXPECT_EQ(NumExecutors(1), 0);

  EXPECT_VERSIONS(RunStep("a", 11, KvPolicy::kPin), 2, 1, 2);
  RollOut(3);
  EXPECT_VERSIONS(RunStep("a", 12), 2, 1, 2);
}

TEST_F(VersionsTest, APinnedSessionMayAskToBeRecomputed) {
  StartUnder(KvPolicy::kPin);
  RunStep("a", 10);
  RollOut(2);

  const StepReply reply = RunStep("a", 11, KvPolicy::kRecompute);

  EXPECT_THAT(reply, SameReply(Expected({{10, 2}, {11, 2}})));
  EXPECT_VERSIONS(reply, 2, 2, 2);
  EXPECT_EQ(NumExecutors(1), 0);
}

TEST_F(VersionsTest, AFailedStepThatSaysAnotherPolicyLeavesTheSessionPinned) {
  for (const KvPolicy kv_policy : {KvPolicy::kKeep, KvPolicy::kRecompute}) {
    options_.batching.max_batch_tokens = 2;
    StartUnder(KvPolicy::kPin);
    for (int x = 0; x < 4; ++x) RunStep("a", x);
    RollOut(2);
    Answer* answer = nullptr;
    StepTask task = Task("a", {4, 5, 6, 7, 8}, &answer);
    task.version.kv_policy = kv_policy;
    Submit(std::move(task));
    RunBatch();
    RunBatch();
    versions_->Policy(2)->FailForwards([](std::int64_t) { return true; });
    while (!answer->is_done()) RunBatch();
    EXPECT_EQ(ReasonOf(answer->status()), reason::kInternal);

    const StepReply reply = RunStep("a", 4);

    EXPECT_THAT(reply,
                SameReply(Expected({{0, 1}, {1, 1}, {2, 1}, {3, 1}, {4, 1}})));
    EXPECT_VERSIONS(reply, 1, 1, 1);
    TearDown();
  }
}

TEST_F(VersionsTest, AForkHasThePolicyOfItsSourceAndTheNextEpochHasNone) {
  StartUnder(KvPolicy::kPin);
  RunStep("a", 10, KvPolicy::kKeep);
  ForkTask fork;
  fork.actor_id = "a";
  fork.forks = {"b"};
  fork.done = [](const absl::StatusOr<ForkResult>& result) {
    EXPECT_TRUE(result.ok()) << result.status();
  };
  SubmitOther(std::move(fork));
  Reset("a");
  RunStep("a", 20);
  RollOut(2);

  EXPECT_VERSIONS(RunStep("b", 11), 2, 1, 2);
  EXPECT_VERSIONS(RunStep("a", 21), 1, 1, 1);
}

// ---- Which version
// --------------------------------------------------------------

TEST_F(VersionsTest, ABatchRunsUnderOneVersionAndNeitherStarves) {
  StartUnder(KvPolicy::kPin);
  for (const std::string actor : {"a", "b"}) RunStep(actor, 1);
  RollOut(2);
  for (const std::string actor : {"c", "d"}) RunStep(actor, 1);
  const std::size_t before = observer_.records().batches.size();
  for (int round = 0; round < 3; ++round) {
    for (const std::string actor : {"a", "c", "b", "d"}) Step(actor, {round});
    RunBatch();
    RunBatch();
  }
  const auto batches = observer_.records().batches;
  ASSERT_EQ(batches.size(), before + 6);
  for (std::size_t i = before; i < batches.size(); ++i) {
    EXPECT_EQ(batches[i].num_sessions, 2);
  }
}

TEST_F(VersionsTest, LongWorkOfOneVersionAndSinglesOfAnotherTakeTurns) {
  options_.batching.max_batch_tokens = 4;
  StartUnder(KvPolicy::kPin);
  RunStep("old", 0);
  RollOut(2);
  std::vector<std::int64_t> xs(40);
  Answer* prefill = Step("new", xs);
  int batches = 0;
  for (; !prefill->is_done() && batches < 100; ++batches) {
    Answer* single = Step("old", {batches});
    RunBatch();
    if (!single->is_done()) RunBatch();
    EXPECT_TRUE(single->is_done());
  }
  // Two tokens, half a batch, in every second batch.
  EXPECT_LE(batches, 21);
}

TEST_F(VersionsTest, AShareOfTheActorsGetsTheCanary) {
  StartUnder(KvPolicy::kPin);
  Rollout rollout;
  rollout.stable = 1;
  rollout.canary = 2;
  rollout.canary_share = 0.25;
  versions_->RollOut(rollout, {1, 2}, executor_.get());

  int num_canaries = 0;
  for (int i = 0; i < 400; ++i) {
    const std::string actor = absl::StrCat("actor-", i);
    const StepReply reply = RunStep(actor, i);
    EXPECT_EQ(reply.model_version,
              IsInShare(StableHash(actor), 0.25) ? 2U : 1U);
    num_canaries += reply.model_version == 2 ? 1 : 0;
    Reset(actor);
  }
  EXPECT_GT(num_canaries, 70);
  EXPECT_LT(num_canaries, 130);
}

TEST_F(VersionsTest, ALabelChoosesTheVersionOfANewContext) {
  StartUnder(KvPolicy::kPin);
  Rollout rollout;
  rollout.stable = 1;
  rollout.labels = {{"best", 3}};
  versions_->RollOut(rollout, {1, 3}, executor_.get());
  std::vector<Answer*> answers(2);
  for (const std::string label : {"best", "unheard-of"}) {
    Answer*& answer = answers[label == "best" ? 0 : 1];
    StepTask task = Task("a", {1}, &answer);
    task.version.label = label;
    Submit(std::move(task));
    RunBatch();
    Reset("a");
  }
  EXPECT_EQ(answers[0]->reply().model_version, 3U);
  EXPECT_EQ(ReasonOf(answers[1]->status()), reason::kModelVersion);
}

// ---- Waiting for a version
// -------------------------------------------------------

TEST_F(VersionsTest, AStepWaitsForTheVersionThatItWants) {
  StartUnder(KvPolicy::kPin);
  Answer* answer = nullptr;
  StepTask task = Task("a", {1}, &answer);
  task.version.min_version = 2;
  Submit(std::move(task));
  Answer* after = Step("a", {2});
  RunBatch();
  EXPECT_FALSE(answer->is_done());
  EXPECT_FALSE(IsDue());
  RollOut(2);
  EXPECT_TRUE(IsDue());
  RunBatch();
  RunBatch();
  EXPECT_EQ(answer->reply().model_version, 2U);
  EXPECT_EQ(after->reply().step_index, 2U);
}

TEST_F(VersionsTest, AStepIsToldBeforeItsDeadlineThatNoVersionCame) {
  StartUnder(KvPolicy::kPin);
  Answer* answer = nullptr;
  StepTask task = Task("a", {1}, &answer);
  task.version.min_version = 2;
  task.deadline = clock_.Now() + milliseconds(500);
  Submit(std::move(task));
  RunBatch();
  while (!answer->is_done()) {
    const MonotonicTime now = clock_.Now();
    clock_.Advance(executor_->NextFire(now).at - now);
    RunBatch();
  }
  EXPECT_EQ(ReasonOf(answer->status()), reason::kModelVersion);
  EXPECT_EQ(answer->status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(executor_->FindSession("a"), nullptr);
}

TEST_F(VersionsTest, AWaitingStepThatIsCancelledStopsWaiting) {
  StartUnder(KvPolicy::kPin);
  Answer* answer = nullptr;
  StepTask task = Task("a", {1}, &answer);
  task.version.min_version = 2;
  auto is_cancelled = std::make_shared<std::atomic<bool>>(false);
  task.is_cancelled = is_cancelled;
  Submit(std::move(task));
  RunBatch();
  is_cancelled->store(true);
  clock_.Advance(milliseconds(101));
  EXPECT_TRUE(IsDue());
  RunBatch();
  EXPECT_EQ(ReasonOf(answer->status()), reason::kCancelled);
}

TEST_F(VersionsTest, AWaitingStepDoesNotOutlastADrain) {
  StartUnder(KvPolicy::kPin);
  Answer* answer = nullptr;
  StepTask task = Task("a", {1}, &answer);
  task.version.min_version = 2;
  Submit(std::move(task));
  RunBatch();
  executor_->StartDraining();
  RunBatch();
  EXPECT_EQ(ReasonOf(answer->status()), reason::kDraining);
}

TEST_F(VersionsTest, APinnedContextIsNotWaitedFor) {
  StartUnder(KvPolicy::kPin);
  RunStep("a", 1);
  RollOut(2);
  Answer* answer = nullptr;
  StepTask task = Task("a", {2}, &answer);
  task.version.min_version = 2;
  Submit(std::move(task));
  RunBatch();
  EXPECT_EQ(ReasonOf(answer->status()), reason::kModelVersion);
  EXPECT_EQ(RunStep("a", 3).step_index, 2U);
}

TEST_F(VersionsTest, BlocksOfAStepThatWaitsForAVersionAreLentToOthers) {
  options_.num_blocks = 2;
  StartUnder(KvPolicy::kKeep);
  for (int x = 0; x < 8; ++x) RunStep("a", x);
  Answer* waiting = nullptr;
  StepTask task = Task("a", {8}, &waiting);
  task.version.min_version = 2;
  Submit(std::move(task));
  RunBatch();
  EXPECT_EQ(RunStep("b", 1).step_index, 1U);
  EXPECT_FALSE(waiting->is_done());
  Reset("b");
  RollOut(2);
  while (!waiting->is_done()) RunBatch();
  EXPECT_EQ(ReasonOf(waiting->status()), reason::kCacheFull);
}

}  // namespace
}  // namespace stepd
