// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/engine.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "server/common/error.h"
#include "server/common/mutex.h"
#include "tests/fakes/fake_policy.h"
#include "tests/fakes/recording_observer.h"

namespace stepd {
namespace {

// Collects the answer of one task; waits for it without sleeping.
class Answer {
 public:
  StepDone Callback() {
    return [this](absl::StatusOr<StepReply> reply) {
      MutexLock lock(&mu_);
      reply_ = std::move(reply);
      is_done_ = true;
      done_.NotifyAll();
    };
  }
  absl::StatusOr<StepReply> Wait() {
    MutexLock lock(&mu_);
    while (!is_done_) done_.Wait(&mu_);
    return reply_;
  }

 private:
  Mutex mu_;
  CondVar done_;
  bool is_done_ ABSL_GUARDED_BY(mu_) = false;
  absl::StatusOr<StepReply> reply_ ABSL_GUARDED_BY(mu_);
};

StepTask MakeTask(const std::string& actor, std::int64_t x, StepDone done) {
  StepTask task;
  task.actor_id = actor;
  task.steps.Append(EncodeFakeStep(x));
  task.num_tokens = {1};
  task.done = std::move(done);
  return task;
}

std::int64_t Best(const FakeHistory& history) {
  const std::vector<float> scores = history.Scores();
  return std::max_element(scores.begin(), scores.end()) - scores.begin();
}

class EngineTest : public testing::Test {
 protected:
  void SetUp() override {
    options_.num_executors = 3;
    options_.cache_bytes = 3 * 64 * 4;
  }
  void TearDown() override {
    engine_.reset();
    EXPECT_TRUE(policy_->violations().empty()) << policy_->violations()[0];
  }
  Engine& Start() {
    auto engine = Engine::Create(policy_, options_, &observer_);
    EXPECT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
    return *engine_;
  }

  std::shared_ptr<FakePolicy> policy_ = std::make_shared<FakePolicy>();
  EngineOptions options_;
  RecordingObserver observer_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(EngineTest, AnswersManyActorsAsEachAlone) {
  Engine& engine = Start();
  std::vector<FakeHistory> histories(20, FakeHistory(policy_->options()));

  for (int round = 0; round < 5; ++round) {
    std::vector<std::unique_ptr<Answer>> answers;
    for (int a = 0; a < 20; ++a) {
      answers.push_back(std::make_unique<Answer>());
      const std::int64_t x = 100 * a + round;
      ASSERT_TRUE(engine
                      .Submit(MakeTask(absl::StrCat("actor-", a), x,
                                       answers.back()->Callback()))
                      .ok());
      histories[static_cast<std::size_t>(a)].Append(EncodeFakeStep(x));
    }
    for (std::size_t a = 0; a < 20; ++a) {
      const absl::StatusOr<StepReply> reply = answers[a]->Wait();
      ASSERT_TRUE(reply.ok()) << reply.status();
      EXPECT_EQ(reply->actions[0], Best(histories[a]));
      EXPECT_EQ(reply->step_index, static_cast<std::uint64_t>(round + 1));
    }
  }
}

}  // namespace
}  // namespace stepd
