// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Random steps, resets, cancellations, evictions and failures of many actors
// while versions are rolled out and back, under each KV policy: every answer
// must be, bit for bit, what a replay of its actor alone gives under the
// versions that the answer names; no step fails because of a rollout; and at
// the end no executor runs what is not offered.

#include <atomic>
#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <ostream>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/common/error.h"
#include "server/engine/executor.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_policy.h"
#include "tests/fakes/fake_task.h"
#include "tests/fakes/recording_observer.h"
#include "tests/server/engine/versions_fixture.h"

namespace stepd {
namespace {

using std::chrono::microseconds;

constexpr int kNumActors = 8;

struct OracleCase {
  std::string name;
  KvPolicy kv_policy = KvPolicy::kPin;
  ContextLimits context;
  bool has_session_inputs = false;
  // Steps say policies of their own: to be pinned, or recomputed.
  bool is_mixed = false;
};
std::ostream& operator<<(std::ostream& os, const OracleCase& test_case) {
  return os << test_case.name;
}

// One step of a context, and the weights that its keys are of.
struct Made {
  std::int64_t x = 0;
  std::uint64_t version = 0;
};

struct Asked {
  bool is_reset = false;
  std::vector<std::int64_t> xs;
  std::size_t first_rollout = 0;  // that was in force when it was asked
  std::optional<KvPolicy> kv_policy;
  std::shared_ptr<std::atomic<bool>> is_cancelled;
};

struct Actor {
  std::string id;
  std::deque<Asked> asked;
  std::vector<Made> context;
  std::int64_t begin = 0;  // index of the context's first step
  std::int64_t num_steps = 0;
  KvPolicy kv_policy = KvPolicy::kPin;
};

class World {
 public:
  World(const OracleCase& test_case, unsigned seed)
      : case_(test_case), random_(seed), versions_(Options(), kNumBlocks) {
    ExecutorOptions options;
    options.num_blocks = kNumBlocks;
    options.batching.max_batch_tokens = 8;
    options.context = case_.context;
    options.kv_policy = case_.kv_policy;
    executor_ = std::make_unique<Executor>(
        Executor::Parts{versions_.Get(1), versions_.MakeRunner(1), &budget_,
                        &observer_, &clock_},
        options);
    for (int a = 0; a < kNumActors; ++a) {
      actors_.emplace_back();
      actors_.back().id = absl::StrCat("actor-", a);
      actors_.back().kv_policy = case_.kv_policy;
    }
  }

  void Run(int num_operations) {
    for (int i = 0; i < num_operations && !testing::Test::HasFailure(); ++i) {
      Operate();
    }
    End();
  }

  int num_answers() const { return num_answers_; }
  int num_old_keys() const { return num_old_keys_; }

 private:
  static constexpr std::int32_t kNumBlocks = 16;

  FakePolicyOptions Options() const {
    FakePolicyOptions options;
    options.max_tokens_per_step = 2;
    if (case_.has_session_inputs) {
      options.session_fields = {FieldSpec{"image", DType::kInt64, {}, {}, {}}};
    }
    return options;
  }

  // A task that fails or is cancelled half-way through a rebuild leaves a part
  // of it, which the next one goes on from, under other weights if they are
  // kept: which part, nobody but the executor knows. So they are tried without.
  bool IsKeep() const { return case_.kv_policy == KvPolicy::kKeep; }

  int Random(int n) { return static_cast<int>(random_() % unsigned(n)); }

  void Operate() {
    clock_.Advance(microseconds(Random(300)));
    Actor* actor = &actors_[std::size_t(Random(kNumActors))];
    const int choice = Random(100);
    if (choice < 45) {
      SubmitStep(actor);
    } else if (choice < 49) {
      SubmitReset(actor);
    } else if (choice < 52) {
      if (IsKeep()) return;
      for (Asked& asked : actor->asked) asked.is_cancelled->store(true);
    } else if (choice < 56) {
      RollOut();
    } else if (executor_->NextFire(clock_.Now()).at <= clock_.Now()) {
      executor_->RunBatch(clock_.Now());
    }
  }

  // A newer version, or back to one of the last ones.
  void RollOut() {
    const bool is_back = Random(4) == 0;
    const std::uint64_t stable =
        is_back
            ? rollouts_[rollouts_.size() - 1 -
                        std::size_t(Random(static_cast<int>(rollouts_.size())))]
            : ++newest_;
    if (!IsKeep() && !is_back) {
      versions_.Policy(stable)->FailForwards(
          [](std::int64_t n) { return n % 13 == 7; });
    }
    versions_.RollOut(stable, executor_.get());
    rollouts_.push_back(stable);
  }

  void SubmitStep(Actor* actor) {
    Asked asked;
    const int num_steps = Random(4) == 0 ? 1 + Random(5) : 1;
    for (int i = 0; i < num_steps; ++i) asked.xs.push_back(Random(1000));
    asked.first_rollout = rollouts_.size() - 1;
    asked.is_cancelled = std::make_shared<std::atomic<bool>>(false);
    if (case_.is_mixed && Random(2) == 0) {
      asked.kv_policy = Random(2) == 0 ? KvPolicy::kPin : KvPolicy::kRecompute;
    }
    Answer unused;
    StepTask task = MakeFakeTask(actor->id, asked.xs, Options(), &unused);
    task.is_cancelled = asked.is_cancelled;
    task.version.kv_policy = asked.kv_policy;
    task.outputs = 1;
    // Given with every step: who has a session is refused, which is as good.
    if (case_.has_session_inputs && actor->num_steps == 0 &&
        actor->asked.empty()) {
      task.session_inputs = EncodeFakeStep(7);
    }
    task.done = [this, actor](absl::StatusOr<StepReply> reply) {
      CheckStep(actor, reply);
    };
    actor->asked.push_back(std::move(asked));
    Admit(std::move(task));
  }

  void SubmitReset(Actor* actor) {
    Asked asked;
    asked.is_reset = true;
    asked.is_cancelled = std::make_shared<std::atomic<bool>>(false);
    actor->asked.push_back(std::move(asked));
    ResetTask task;
    task.actor_id = actor->id;
    task.done = [this, actor](const absl::Status& status) {
      EXPECT_TRUE(status.ok());
      ASSERT_FALSE(actor->asked.empty());
      actor->asked.pop_front();
      actor->context.clear();
      actor->begin = actor->num_steps = 0;
      actor->kv_policy = case_.kv_policy;
    };
    Admit(std::move(task));
  }

  void Admit(Task task) {
    QueuedTask queued;
    queued.task = std::move(task);
    queued.submitted = clock_.Now();
    executor_->Admit(std::move(queued), clock_.Now());
  }

  void CheckStep(Actor* actor, const absl::StatusOr<StepReply>& reply) {
    ASSERT_FALSE(actor->asked.empty());
    const Asked asked = std::move(actor->asked.front());
    actor->asked.pop_front();
    ASSERT_FALSE(asked.is_reset);
    if (!reply.ok()) {
      const std::string reason = ReasonOf(reply.status());
      EXPECT_TRUE(reason == reason::kCancelled ||
                  reason == reason::kContextFull ||
                  (reason == reason::kInternal && !IsKeep()) ||
                  (reason == reason::kFieldMissing && case_.has_session_inputs))
          << reply.status();
      return;
    }
    ++num_answers_;
    const bool is_new = SeeSteps(asked.xs, *reply, actor);
    CheckVersion(*actor, asked, *reply, is_new);
    actor->kv_policy = asked.kv_policy.value_or(actor->kv_policy);
    EXPECT_TRUE(Explain(*reply, actor)) << actor->id << ": " << *reply;
  }

  // Adds the steps to the context; true if it was begun within them.
  bool SeeSteps(const std::vector<std::int64_t>& xs, const StepReply& reply,
                Actor* actor) const {
    bool is_new = actor->num_steps == 0;
    for (const std::int64_t x : xs) {
      const std::int64_t begin =
          case_.context.BeginFor(actor->begin, actor->num_steps);
      is_new |= begin != actor->begin;
      actor->context.erase(actor->context.begin(),
                           actor->context.begin() + (begin - actor->begin));
      actor->begin = begin;
      actor->context.push_back({x, reply.model_version});
      ++actor->num_steps;
    }
    if (!is_new) return false;
    for (Made& made : actor->context) made.version = reply.model_version;
    return true;
  }

  void CheckVersion(const Actor& actor, const Asked& asked,
                    const StepReply& reply, bool is_new) const {
    EXPECT_LE(reply.context_version_min, reply.model_version);
    if (!IsKeep()) {
      EXPECT_EQ(reply.context_version_min, reply.model_version);
      EXPECT_EQ(reply.context_version_max, reply.model_version);
    }
    const bool is_pinned =
        actor.kv_policy == KvPolicy::kPin &&
        asked.kv_policy.value_or(KvPolicy::kPin) == KvPolicy::kPin;
    if (is_pinned && !is_new) {
      EXPECT_EQ(reply.model_version, actor.context.front().version);
      return;
    }
    const std::vector<std::uint64_t> offered(
        rollouts_.begin() + static_cast<std::ptrdiff_t>(asked.first_rollout),
        rollouts_.end());
    EXPECT_THAT(offered, testing::Contains(reply.model_version));
  }

  // Whether the answer is that of the context as it was made, or of one that
  // was made again under the answer's version.
  bool Explain(const StepReply& reply, Actor* actor) {
    if (IsKeep() && IsAnswer(reply, *actor)) {
      num_old_keys_ += reply.context_version_min < reply.model_version ? 1 : 0;
      return true;
    }
    const bool may_be_remade =
        case_.kv_policy != KvPolicy::kPin || case_.is_mixed;
    for (Made& made : actor->context) {
      if (may_be_remade) made.version = reply.model_version;
    }
    return IsAnswer(reply, *actor);
  }

  bool IsAnswer(const StepReply& reply, const Actor& actor) const {
    FakeHistory history(Options(), case_.has_session_inputs ? EncodeFakeStep(7)
                                                            : std::string());
    std::uint64_t min = reply.model_version;
    std::uint64_t max = reply.model_version;
    for (const Made& made : actor.context) {
      history.UseWeights(made.version);
      history.Append(EncodeFakeStep(made.x));
      min = std::min(min, made.version);
      max = std::max(max, made.version);
    }
    const auto steps = static_cast<std::uint64_t>(actor.num_steps);
    return reply.step_index == steps &&
           reply.outputs[0] == std::vector<float>{history.Value()} &&
           reply.context_version_min == min && reply.context_version_max == max;
  }

  void End() {
    for (Actor& actor : actors_) SubmitReset(&actor);
    for (int i = 0; i < 10000 && executor_->num_unfinished() > 0; ++i) {
      executor_->RunBatch(clock_.Now());
    }
    EXPECT_EQ(executor_->num_unfinished(), 0);
    EXPECT_EQ(executor_->pool().num_used(), 0);
    for (std::uint64_t number = 1; number <= newest_; ++number) {
      const bool is_offered = number == rollouts_.back();
      const auto version = versions_.Get(number);
      EXPECT_EQ(version->num_executors(), is_offered ? 1 : 0) << number;
      EXPECT_EQ(version->tally()->num_sessions.load(), 0) << number;
    }
    executor_.reset();
  }

  const OracleCase case_;
  std::mt19937 random_;
  FakeClock clock_;
  RecordingObserver observer_;
  SessionBudget budget_{1000};
  FakeVersions versions_;
  std::unique_ptr<Executor> executor_;
  std::deque<Actor> actors_;
  std::vector<std::uint64_t> rollouts_ = {1};
  std::uint64_t newest_ = 1;
  int num_answers_ = 0;
  int num_old_keys_ = 0;
};

class VersionsOracleTest : public testing::TestWithParam<OracleCase> {};

TEST_P(VersionsOracleTest, EveryAnswerIsThatOfTheVersionsItNames) {
  int num_old_keys = 0;
  for (unsigned seed = 0; seed < 10 && !HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    World world(GetParam(), seed);
    world.Run(5000);
    EXPECT_GT(world.num_answers(), 1000);
    num_old_keys += world.num_old_keys();
  }
  if (GetParam().kv_policy == KvPolicy::kKeep) EXPECT_GT(num_old_keys, 100);
}

std::vector<OracleCase> Cases() {
  std::vector<OracleCase> cases;
  const std::pair<const char*, KvPolicy> policies[] = {
      {"Pin", KvPolicy::kPin},
      {"Keep", KvPolicy::kKeep},
      {"Recompute", KvPolicy::kRecompute}};
  for (const auto& [name, kv_policy] : policies) {
    OracleCase growing;
    growing.name = name;
    growing.kv_policy = kv_policy;
    growing.context.max_steps = 20;  // that all blocks hold
    cases.push_back(growing);
    OracleCase rebuilding = growing;
    rebuilding.name += "Rebuild";
    rebuilding.context.max_steps = 6;
    rebuilding.context.keep_steps = 3;
    cases.push_back(rebuilding);
    OracleCase inputs = rebuilding;
    inputs.name += "Inputs";
    inputs.has_session_inputs = true;
    cases.push_back(inputs);
  }
  for (const bool has_session_inputs : {false, true}) {
    OracleCase mixed;
    mixed.name = has_session_inputs ? "MixedInputs" : "Mixed";
    mixed.context.max_steps = 20;
    mixed.has_session_inputs = has_session_inputs;
    mixed.is_mixed = true;
    cases.push_back(mixed);
    mixed.name += "Rebuild";
    mixed.context.max_steps = 6;
    mixed.context.keep_steps = 3;
    cases.push_back(mixed);
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(All, VersionsOracleTest, testing::ValuesIn(Cases()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace stepd
