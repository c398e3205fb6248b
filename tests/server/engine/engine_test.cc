// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/engine.h"

#include <atomic>
#include <chrono>
#include <deque>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/common/error.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_policy.h"
#include "tests/fakes/fake_task.h"
#include "tests/fakes/recording_observer.h"

namespace stepd {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

class EngineTest : public testing::Test {
 protected:
  EngineTest() {
    options_.num_executors = 3;
    options_.cache_bytes = 3 * 64 * 4;  // 64 blocks each
  }
  void TearDown() override {
    engine_.reset();
    EXPECT_THAT(policy_->violations(), IsEmpty());
    for (const Answer& answer : answers_) EXPECT_EQ(answer.count(), 1);
  }

  void Start(const Clock* clock = Clock::Real()) {
    auto engine = Engine::Create(policy_, options_, &observer_, clock);
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
  }
  Answer* Step(const std::string& actor, const std::vector<std::int64_t>& xs) {
    answers_.emplace_back();
    Answer* answer = &answers_.back();
    const absl::Status status =
        engine_->Submit(MakeFakeTask(actor, xs, policy_->options(), answer));
    EXPECT_TRUE(status.ok()) << status;
    return answer;
  }
  absl::Status SubmitRefused() {
    Answer never;
    const absl::Status status = engine_->Submit(
        MakeFakeTask("refused", {1}, policy_->options(), &never));
    EXPECT_FALSE(never.is_done());
    return status;
  }

  std::shared_ptr<FakePolicy> policy_ = std::make_shared<FakePolicy>();
  EngineOptions options_;
  RecordingObserver observer_;
  std::deque<Answer> answers_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(EngineTest, AnswersManyActorsAsEachAlone) {
  Start();
  std::vector<ReplayedActor> replayed;
  for (int a = 0; a < 20; ++a) {
    replayed.emplace_back(absl::StrCat(a), policy_->options());
  }

  for (int round = 0; round < 5; ++round) {
    std::vector<Answer*> answers;
    for (int a = 0; a < 20; ++a) {
      answers.push_back(Step(absl::StrCat(a), {100 * a + round}));
    }
    for (int a = 0; a < 20; ++a) {
      const auto i = static_cast<std::size_t>(a);
      EXPECT_EQ(answers[i]->Wait().value(),
                replayed[i].Step({100 * a + round}));
    }
  }
}

TEST_F(EngineTest, KeepsTheOrderOfPipelinedStepsAndResets) {
  Start();
  ReplayedActor replayed("a", policy_->options());
  std::vector<Answer*> answers;
  for (int i = 0; i < 60; ++i) answers.push_back(Step("a", {i}));
  answers_.emplace_back();
  ASSERT_TRUE(engine_->Submit(MakeFakeReset("a", &answers_.back())).ok());
  for (int i = 60; i < 90; ++i) answers.push_back(Step("a", {i}));

  for (int i = 0; i < 90; ++i) {
    if (i == 60) replayed.Reset();
    EXPECT_EQ(answers[static_cast<std::size_t>(i)]->Wait().value(),
              replayed.Step({i}));
  }
}

TEST_F(EngineTest, OffersThePolicyAndItsSpec) {
  Start();

  EXPECT_EQ(engine_->spec().num_actions, 5);
  EXPECT_EQ(*engine_->input_rules().CountTokens(EncodeFakeStep(7)), 1);
}

TEST_F(EngineTest, MergesWhatArrivesWhileABatchRuns) {
  options_.num_executors = 1;
  Start();
  policy_->Pause();
  Step("first", {1});
  policy_->WaitUntilPaused();
  for (int a = 0; a < 8; ++a) Step(absl::StrCat(a), {a});
  policy_->Resume();
  for (const Answer& answer : answers_) EXPECT_TRUE(answer.Wait().ok());

  ASSERT_EQ(policy_->forwards().size(), 2U);
  EXPECT_EQ(policy_->forwards()[1].num_slices, 8);
}

TEST_F(EngineTest, DropsATaskThatIsCancelledWhileAnotherBatchRuns) {
  options_.num_executors = 1;
  Start();
  policy_->Pause();
  const Answer* running = Step("a", {1});
  policy_->WaitUntilPaused();
  answers_.emplace_back();
  Answer* cancelled = &answers_.back();
  StepTask task = MakeFakeTask("b", {1}, policy_->options(), cancelled);
  auto flag = std::make_shared<std::atomic<bool>>(false);
  task.is_cancelled = flag;
  ASSERT_TRUE(engine_->Submit(std::move(task)).ok());
  flag->store(true);
  policy_->Resume();

  EXPECT_TRUE(running->Wait().ok());
  EXPECT_EQ(ReasonOf(cancelled->Wait().status()), reason::kCancelled);
  EXPECT_EQ(policy_->forwards().size(), 1U);
}

TEST_F(EngineTest, RefusesTasksBeyondTheQueue) {
  options_.num_executors = 1;
  options_.max_queued_tasks = 3;
  Start();
  policy_->Pause();
  Step("a", {1});
  policy_->WaitUntilPaused();
  Step("b", {1});
  Step("c", {1});

  const absl::Status status = SubmitRefused();
  policy_->Resume();

  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(status), reason::kOverloaded);
  EXPECT_TRUE(RetryAfterOf(status).has_value());
  for (const Answer& answer : answers_) EXPECT_TRUE(answer.Wait().ok());
}

TEST_F(EngineTest, DrainFinishesWhatIsQueuedAndRefusesMore) {
  options_.max_wait = absl::Hours(1);
  Start();
  policy_->Pause();
  for (int a = 0; a < 20; ++a) Step(absl::StrCat(a % 7), {a, a, a});
  policy_->WaitUntilPaused();
  std::thread drainer([this] { engine_->Drain(); });
  policy_->Resume();
  drainer.join();

  for (const Answer& answer : answers_) {
    EXPECT_TRUE(answer.is_done());
    EXPECT_TRUE(answer.status().ok());
  }
  const absl::Status status = SubmitRefused();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(status), reason::kDraining);
  engine_->Drain();  // again is no harm
}

TEST_F(EngineTest, DestructionFinishesWhatIsQueued) {
  Start();
  for (int a = 0; a < 20; ++a) Step(absl::StrCat(a), {a});

  engine_.reset();

  for (const Answer& answer : answers_) EXPECT_TRUE(answer.status().ok());
}

TEST_F(EngineTest, CountsSessionsOverAllExecutors) {
  options_.max_sessions = 2;
  Start();
  EXPECT_TRUE(Step("a", {1})->Wait().ok());
  EXPECT_TRUE(Step("b", {1})->Wait().ok());

  for (int a = 0; a < 6; ++a) {  // whichever executor they hash to
    EXPECT_EQ(ReasonOf(Step(absl::StrCat("more-", a), {1})->Wait().status()),
              reason::kSessionsFull);
  }
}

TEST_F(EngineTest, ExpiresIdleSessionsByItsClock) {
  FakeClock clock;
  options_.num_executors = 1;
  options_.idle_timeout = absl::Seconds(10);
  Start(&clock);
  EXPECT_TRUE(Step("a", {1})->Wait().ok());

  clock.Advance(std::chrono::seconds(10));
  EXPECT_TRUE(Step("b", {1})->Wait().ok());

  EXPECT_THAT(observer_.records().session_ends, Contains(SessionEnd::kExpired));
  EXPECT_EQ(Step("a", {1})->Wait()->step_index, 1U);
  engine_.reset();
}

// An actor on its own thread: every answer must be its replay's.
class RandomActor {
 public:
  RandomActor(int index, Engine* engine, const FakePolicyOptions& policy)
      : id_(absl::StrCat("actor-", index)),
        engine_(*engine),
        policy_(policy),
        replayed_(id_, policy),
        random_(static_cast<unsigned>(index)) {}

  void Run(int num_operations) {
    for (int i = 0; i < num_operations; ++i) {
      if (replayed_.num_steps() > 25 || random_() % 20 == 0) {
        Reset();
      } else {
        Step();
      }
    }
  }
  int num_answers() const { return num_answers_; }

 private:
  void Reset() {
    Answer answer;
    ASSERT_TRUE(engine_.Submit(MakeFakeReset(id_, &answer)).ok());
    EXPECT_TRUE(answer.Wait().ok());
    replayed_.Reset();
  }

  // Sometimes cancelled at an unknown moment: then it ran, or it did not.
  void Step() {
    Answer answer;
    std::vector<std::int64_t> xs(1 + random_() % 3);
    for (std::int64_t& x : xs) x = static_cast<std::int64_t>(random_() % 100);
    StepTask task = MakeFakeTask(id_, xs, policy_, &answer);
    auto flag = std::make_shared<std::atomic<bool>>(false);
    task.is_cancelled = flag;
    ASSERT_TRUE(engine_.Submit(std::move(task)).ok());
    if (random_() % 10 == 0) flag->store(true);
    const absl::StatusOr<StepReply> reply = answer.Wait();
    if (!reply.ok()) return;
    EXPECT_EQ(*reply, replayed_.Step(xs));
    ++num_answers_;
  }

  const std::string id_;
  Engine& engine_;
  const FakePolicyOptions policy_;
  ReplayedActor replayed_;
  std::mt19937 random_;
  int num_answers_ = 0;
};

TEST_F(EngineTest, SurvivesManyThreadsThatStepResetAndCancel) {
  options_.cache_bytes = 3 * 10 * 4;  // small: sessions are evicted
  options_.max_batch_tokens = 8;
  options_.max_wait = absl::Microseconds(50);
  Start();
  policy_->FailForwards([](std::int64_t n) { return n % 50 == 49; });

  std::deque<RandomActor> actors;
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    actors.emplace_back(t, engine_.get(), policy_->options());
    threads.emplace_back([&actor = actors.back()] { actor.Run(150); });
  }
  for (std::thread& thread : threads) thread.join();
  engine_->Drain();

  for (const RandomActor& actor : actors) EXPECT_GT(actor.num_answers(), 50);
}

// --- Creation ----------------------------------------------------------------

struct BadOption {
  const char* name;
  void (*spoil)(EngineOptions*);
};

class EngineOptionsTest : public testing::TestWithParam<BadOption> {};

TEST_P(EngineOptionsTest, RefusesWhatCannotWorkAndNamesIt) {
  RecordingObserver observer;
  EngineOptions options;
  GetParam().spoil(&options);

  const absl::Status status =
      Engine::Create(std::make_shared<FakePolicy>(), options, &observer)
          .status();

  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam().name));
}

INSTANTIATE_TEST_SUITE_P(
    All, EngineOptionsTest,
    testing::Values(
        BadOption{"num_executors",
                  [](EngineOptions* o) { o->num_executors = 0; }},
        BadOption{"max_batch_sessions",
                  [](EngineOptions* o) { o->max_batch_sessions = 0; }},
        BadOption{"max_batch_tokens",
                  [](EngineOptions* o) { o->max_batch_tokens = 0; }},
        BadOption{"max_wait",
                  [](EngineOptions* o) { o->max_wait = -absl::Seconds(1); }},
        BadOption{"max_queued_tasks",
                  [](EngineOptions* o) { o->max_queued_tasks = 0; }},
        BadOption{"cache_bytes",
                  [](EngineOptions* o) {
                    o->num_executors = 2;
                    o->cache_bytes = 7;  // blocks of four bytes
                  }},
        BadOption{"max_sessions",
                  [](EngineOptions* o) { o->max_sessions = 0; }},
        BadOption{"max_steps",
                  [](EngineOptions* o) { o->context.max_steps = 0; }},
        BadOption{"keep_steps",
                  [](EngineOptions* o) {
                    o->context.max_steps = 4;
                    o->context.keep_steps = 5;
                  }},
        BadOption{
            "idle_timeout",
            [](EngineOptions* o) { o->idle_timeout = absl::ZeroDuration(); }}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(EngineCreate, NeedsNoCacheForAPolicyThatCachesNothing) {
  FakePolicyOptions policy_options;
  policy_options.kv_bytes_per_token = 0;
  RecordingObserver observer;
  EngineOptions options;
  options.cache_bytes = 0;

  EXPECT_TRUE(Engine::Create(std::make_shared<FakePolicy>(policy_options),
                             options, &observer)
                  .ok());
}

// Its second runner finds no memory.
class ForgetfulPolicy : public FakePolicy {
 public:
  absl::StatusOr<std::unique_ptr<PolicyRunner>> CreateRunner(
      const RunnerOptions& options) const override {
    if (num_runners_++ == 1) {
      return absl::ResourceExhaustedError("no memory for the cache");
    }
    return FakePolicy::CreateRunner(options);
  }

 private:
  mutable int num_runners_ = 0;
};

TEST(EngineCreate, PassesOnThatTheCacheDoesNotFit) {
  RecordingObserver observer;
  EngineOptions options;
  options.num_executors = 3;
  options.cache_bytes = 1000;

  const absl::Status status =
      Engine::Create(std::make_shared<ForgetfulPolicy>(), options, &observer)
          .status();

  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace stepd
