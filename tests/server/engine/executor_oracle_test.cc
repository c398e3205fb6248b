// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Random operations of many actors on one executor against a replay of every
// actor alone: each answer must be the replay's, bit for bit, or an error that
// its task deserved; after every batch each block has exactly one owner.

#include <atomic>
#include <chrono>
#include <deque>
#include <map>
#include <memory>
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

namespace stepd {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

struct OracleCase {
  std::string name;
  FakePolicyOptions policy;
  ExecutorOptions executor;
  std::int64_t max_sessions = 1000;
  int num_actors = 12;
};
std::ostream& operator<<(std::ostream& os, const OracleCase& test_case) {
  return os << test_case.name;
}

// What was asked, and with what the answer may be refused.
struct Asked {
  bool is_reset = false;
  std::string session_inputs;  // empty: none are given
  std::vector<std::int64_t> xs;
  SamplingParams sampling;
  std::vector<std::uint8_t> action_mask;
  bool answer_all = false;
  OutputMask outputs = 0;
  MonotonicTime deadline = kInfiniteFuture;
  std::shared_ptr<std::atomic<bool>> is_cancelled;
};

class World {
 public:
  World(const OracleCase& test_case, unsigned seed)
      : case_(test_case),
        random_(seed),
        policy_(case_.policy),
        budget_(case_.max_sessions) {
    RunnerOptions runner;
    runner.num_blocks = case_.executor.num_blocks;
    executor_ = std::make_unique<Executor>(
        Executor::Parts{std::make_shared<ServedVersion>(
                            1, std::shared_ptr<const Policy>(
                                   std::shared_ptr<void>(), &policy_)),
                        *policy_.CreateRunner(runner), &budget_, &observer_,
                        &clock_},
        case_.executor);
    for (int a = 0; a < case_.num_actors; ++a) {
      actors_.push_back({absl::StrCat("actor-", a),
                         ReplayedActor(absl::StrCat("actor-", a), case_.policy,
                                       case_.executor.context),
                         {}});
    }
    // Decided by the index alone, so that the executor cannot shift it.
    policy_.FailForwards([](std::int64_t n) { return n % 17 == 11; });
  }

  void Run(int num_operations) {
    for (int i = 0; i < num_operations && !testing::Test::HasFailure(); ++i) {
      Operate();
    }
    End();
  }

 private:
  struct Actor {
    std::string id;
    ReplayedActor replayed;
    std::deque<Asked> asked;  // not yet answered, in order
  };

  int Random(int n) { return static_cast<int>(random_() % unsigned(n)); }

  void Operate() {
    clock_.Advance(microseconds(Random(300)));
    const int choice = Random(100);
    if (choice < 50) {
      SubmitStep(&actors_[std::size_t(Random(case_.num_actors))]);
    } else if (choice < 53) {
      SubmitReset(&actors_[std::size_t(Random(case_.num_actors))]);
    } else if (choice < 57) {
      CancelOne(&actors_[std::size_t(Random(case_.num_actors))]);
    } else if (choice < 58) {
      clock_.Advance(milliseconds(Random(60)));
      executor_->ExpireIdle(clock_.Now());
      ForgetExpired();
    } else if (executor_->NextFire(clock_.Now()).at <= clock_.Now()) {
      executor_->RunBatch(clock_.Now());
      ++num_batches_;
      CheckAccounts();
    }
  }

  void SubmitStep(Actor* actor) {
    Asked asked;
    const int num_steps = Random(4) == 0 ? 1 + Random(12) : 1;
    for (int i = 0; i < num_steps; ++i) {
      asked.xs.push_back(Random(200) == 0 ? kNanStep : Random(1000));
    }
    if (Random(2) == 0) asked.sampling.temperature = 0.7F;
    asked.sampling.seed = random_();
    if (Random(3) == 0) asked.sampling.num_actions = 1 + Random(5);
    asked.answer_all = Random(2) == 0;
    asked.outputs = static_cast<OutputMask>(Random(4));
    DrawTrimming(&asked);
    if (Random(8) == 0) {
      asked.deadline = clock_.Now() + microseconds(Random(3000));
    }
    if (Random(4) == 0) {
      asked.is_cancelled = std::make_shared<std::atomic<bool>>(false);
    }
    if (!case_.policy.session_fields.empty() && Random(2) == 0) {
      asked.session_inputs =
          EncodeFakeStep(Random(20) == 0 ? kBadInput : Random(3));
    }
    Answer unused;
    StepTask task = MakeFakeTask(actor->id, asked.xs, case_.policy, &unused);
    task.session_inputs = asked.session_inputs;
    task.sampling = asked.sampling;
    task.action_mask = asked.action_mask;
    task.answer_all_steps = asked.answer_all;
    task.outputs = asked.outputs;
    task.deadline = asked.deadline;
    task.is_cancelled = asked.is_cancelled;
    task.done = [this, actor](absl::StatusOr<StepReply> reply) {
      CheckStep(actor, reply);
    };
    actor->asked.push_back(std::move(asked));
    Admit(std::move(task));
  }

  // Outputs entropy and probs too. Every row's mask allows the first action, so
  // that there is one.
  void DrawTrimming(Asked* asked) {
    const auto draw = [this](int n) { return trimming_() % unsigned(n); };
    if (draw(3) == 0) asked->sampling.top_k = std::int64_t(1 + draw(5));
    if (draw(3) == 0) asked->sampling.epsilon = 0.25F;
    if (case_.policy.num_actions == 0) return;
    asked->outputs |= draw(4) << 2;
    if (draw(3) != 0) return;
    const std::size_t num_rows = asked->answer_all ? asked->xs.size() : 1;
    for (std::size_t row = 0; row < num_rows; ++row) {
      for (std::int64_t a = 0; a < case_.policy.num_actions; ++a) {
        asked->action_mask.push_back(a == 0 || draw(2) == 0 ? 1 : 0);
      }
    }
  }

  void SubmitReset(Actor* actor) {
    Asked asked;
    asked.is_reset = true;
    actor->asked.push_back(asked);
    Admit(MakeReset(actor->id, [actor](const absl::Status& status) {
      EXPECT_TRUE(status.ok());
      ASSERT_FALSE(actor->asked.empty());
      EXPECT_TRUE(actor->asked.front().is_reset);
      actor->asked.pop_front();
      actor->replayed.Reset();
    }));
  }

  void Admit(Task task) {
    executor_->Admit(QueuedTask{std::move(task), clock_.Now()}, clock_.Now());
  }

  void CancelOne(Actor* actor) {
    for (Asked& asked : actor->asked) {
      if (asked.is_cancelled != nullptr) asked.is_cancelled->store(true);
    }
  }

  // Answers of an actor come in the order in which it asked.
  void CheckStep(Actor* actor, const absl::StatusOr<StepReply>& reply) {
    ASSERT_FALSE(actor->asked.empty());
    const Asked asked = std::move(actor->asked.front());
    actor->asked.pop_front();
    ASSERT_FALSE(asked.is_reset);
    if (!reply.ok()) {
      ++num_errors_[ReasonOf(reply.status())];
      CheckError(*actor, asked, ReasonOf(reply.status()));
      return;
    }
    ++num_answers_;
    if (actor->replayed.num_steps() == 0) {
      EXPECT_EQ(asked.session_inputs.empty(),
                case_.policy.session_fields.empty());
      actor->replayed.Reset(asked.session_inputs);
    }
    EXPECT_EQ(*reply,
              actor->replayed.Step(asked.xs, asked.sampling, asked.answer_all,
                                   asked.outputs, asked.action_mask));
  }

  void CheckError(const Actor& actor, const Asked& asked,
                  const std::string& why) {
    std::int64_t tokens = actor.replayed.num_tokens();
    bool has_nan = false;
    for (std::int64_t x : asked.xs) {
      tokens += CountFakeTokens(case_.policy, EncodeFakeStep(x));
      has_nan |= x == kNanStep;
    }
    if (why == reason::kCancelled) {
      EXPECT_TRUE(asked.is_cancelled != nullptr && asked.is_cancelled->load());
    } else if (why == reason::kDeadline) {
      EXPECT_LE(asked.deadline, clock_.Now());
    } else if (why == reason::kScores) {
      EXPECT_TRUE(has_nan && asked.sampling.temperature > 0);
    } else if (why == reason::kContextFull) {
      EXPECT_GT(actor.replayed.num_steps() +
                    static_cast<std::int64_t>(asked.xs.size()),
                case_.executor.context.max_steps);
      EXPECT_FALSE(case_.executor.context.rebuilds());
    } else if (why == reason::kCacheFull) {
      EXPECT_GT(BlocksFor(tokens), case_.executor.num_blocks);
    } else if (why == reason::kSessionsFull) {
      EXPECT_EQ(actor.replayed.num_steps(), 0);
      EXPECT_GT(case_.num_actors, case_.max_sessions);
    } else if (why == reason::kFieldMissing) {
      EXPECT_EQ(actor.replayed.num_steps(), 0);
      EXPECT_TRUE(asked.session_inputs.empty());
    } else if (why == reason::kSessionInputs) {
      EXPECT_GT(actor.replayed.num_steps(), 0);
      EXPECT_FALSE(asked.session_inputs.empty());
    } else {
      EXPECT_EQ(why, reason::kInternal);
    }
  }

  std::int64_t BlocksFor(std::int64_t tokens) const {
    return (tokens + case_.policy.tokens_per_block - 1) /
           case_.policy.tokens_per_block;
  }

  void ForgetExpired() {
    for (Actor& actor : actors_) {
      if (actor.asked.empty() && executor_->FindSession(actor.id) == nullptr) {
        actor.replayed.Reset();
      }
    }
  }

  // Every block is free or in exactly one table; a session is exactly what was
  // answered.
  void CheckAccounts() {
    std::map<std::int32_t, int> owners;
    for (const Actor& actor : actors_) {
      const Session* session = executor_->FindSession(actor.id);
      const std::int64_t num_steps =
          session == nullptr ? 0 : session->num_steps();
      ASSERT_EQ(num_steps, actor.replayed.num_steps());
      if (session == nullptr) continue;
      EXPECT_EQ(session->num_tokens, actor.replayed.num_tokens());
      EXPECT_LE(session->num_cached_tokens, session->num_tokens);
      for (std::int32_t block : session->blocks) ++owners[block];
      if (actor.asked.empty()) {  // idle: nothing is held for a task
        EXPECT_EQ(static_cast<std::int64_t>(session->blocks.size()),
                  BlocksFor(session->num_cached_tokens));
      }
    }
    for (const auto& [block, count] : owners) {
      EXPECT_EQ(count, 1) << "block " << block;
      EXPECT_EQ(executor_->pool().use_count(block), 1);
    }
    EXPECT_EQ(executor_->pool().num_used(),
              static_cast<std::int32_t>(owners.size()));
    EXPECT_THAT(policy_.violations(), testing::IsEmpty());
  }

  // Finishes everything, resets everyone: nothing may be left.
  void End() {
    executor_->StartDraining();
    for (int i = 0; i < 100000 && executor_->num_unfinished() > 0; ++i) {
      executor_->RunBatch(clock_.Now());
      CheckAccounts();
    }
    for (Actor& actor : actors_) SubmitReset(&actor);
    for (const Actor& actor : actors_) EXPECT_TRUE(actor.asked.empty());
    EXPECT_EQ(executor_->num_unfinished(), 0);
    EXPECT_EQ(executor_->pool().num_used(), 0);
    EXPECT_EQ(executor_->gauges().num_sessions, 0);
    EXPECT_EQ(policy_.num_prepared_inputs(), 0);
    EXPECT_GT(num_answers_, 0);
    EXPECT_GT(num_errors_["CANCELLED"], 0);
    EXPECT_GT(num_errors_["INTERNAL"], 0);
  }

  const OracleCase case_;
  std::mt19937_64 random_;
  std::mt19937_64 trimming_{1};
  FakeClock clock_;
  FakePolicy policy_;
  SessionBudget budget_;
  RecordingObserver observer_;
  std::deque<Actor> actors_;
  std::unique_ptr<Executor> executor_;
  int num_batches_ = 0;
  int num_answers_ = 0;
  std::map<std::string, int> num_errors_;
};

std::vector<OracleCase> Cases() {
  std::vector<OracleCase> cases;
  OracleCase roomy;
  roomy.name = "Roomy";
  roomy.executor.num_blocks = 4000;
  cases.push_back(roomy);

  OracleCase tiny = roomy;
  tiny.name = "TinyPool";
  tiny.executor.num_blocks = 14;
  tiny.executor.context.max_steps = 60;
  tiny.executor.batching.max_batch_tokens = 8;
  tiny.executor.batching.max_batch_sessions = 4;
  cases.push_back(tiny);

  OracleCase ragged = tiny;
  ragged.name = "RaggedTokens";
  ragged.executor.num_blocks = 25;
  ragged.policy.min_tokens_per_step = 1;
  ragged.policy.max_tokens_per_step = 4;
  ragged.policy.tokens_per_block = 3;
  cases.push_back(ragged);

  OracleCase waiting = ragged;
  waiting.name = "WaitingExpiringFull";
  waiting.executor.batching.max_wait = milliseconds(1);
  waiting.executor.idle_timeout = milliseconds(40);
  waiting.max_sessions = 8;
  cases.push_back(waiting);

  // Calls of up to 12 steps: some go through two rebuilds.
  OracleCase rebuilding = ragged;
  rebuilding.name = "RebuildingContext";
  rebuilding.executor.context.max_steps = 7;
  rebuilding.executor.context.keep_steps = 3;
  cases.push_back(rebuilding);

  OracleCase short_memory = tiny;
  short_memory.name = "ContextOfOneStep";
  short_memory.executor.context.max_steps = 1;
  short_memory.executor.context.keep_steps = 1;
  cases.push_back(short_memory);

  OracleCase with_inputs = waiting;
  with_inputs.name = "SessionInputsAndPrefix";
  with_inputs.policy.session_fields = {
      FieldSpec{"image", DType::kInt64, {}, {}, {}}};
  with_inputs.policy.num_prefix_tokens = 5;
  cases.push_back(with_inputs);

  OracleCase recomputing = with_inputs;
  recomputing.name = "Recomputing";
  recomputing.policy.recomputes = true;
  cases.push_back(recomputing);

  OracleCase rebuilding_prefix = with_inputs;
  rebuilding_prefix.name = "RebuildingContextWithPrefix";
  rebuilding_prefix.executor.context = rebuilding.executor.context;
  cases.push_back(rebuilding_prefix);

  OracleCase rebuilding_all = recomputing;
  rebuilding_all.name = "RecomputingRebuiltContext";
  rebuilding_all.executor.context = rebuilding.executor.context;
  cases.push_back(rebuilding_all);
  return cases;
}

class ExecutorOracleTest
    : public testing::TestWithParam<std::tuple<OracleCase, unsigned>> {};

TEST_P(ExecutorOracleTest, EveryAnswerIsThatOfTheActorAlone) {
  const auto& [test_case, seed] = GetParam();

  World(test_case, seed).Run(2000);
}

INSTANTIATE_TEST_SUITE_P(Seeds, ExecutorOracleTest,
                         testing::Combine(testing::ValuesIn(Cases()),
                                          testing::Range(1U, 6U)),
                         [](const auto& info) {
                           return absl::StrCat(std::get<0>(info.param).name,
                                               std::get<1>(info.param));
                         });

}  // namespace
}  // namespace stepd
