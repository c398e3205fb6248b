// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// An executor without its thread: tests are its loop, and own its clock.

#ifndef STEPD_TESTS_SERVER_ENGINE_EXECUTOR_FIXTURE_H_
#define STEPD_TESTS_SERVER_ENGINE_EXECUTOR_FIXTURE_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/executor.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_policy.h"
#include "tests/fakes/fake_task.h"
#include "tests/fakes/recording_observer.h"

namespace stepd {

MATCHER_P(SameReply, expected, "") {
  *result_listener << arg;
  return arg == expected;
}

// A version that does not own its policy.
inline std::shared_ptr<ServedVersion> FakeVersion(std::uint64_t number,
                                                  const FakePolicy* policy) {
  return std::make_shared<ServedVersion>(
      number, std::shared_ptr<const Policy>(std::shared_ptr<void>(), policy));
}

class ExecutorFixture : public testing::Test {
 protected:
  ExecutorFixture() { options_.num_blocks = 64; }

  void TearDown() override {
    if (executor_ == nullptr) return;
    RunAll();
    executor_.reset();
    EXPECT_THAT(policy_->violations(), testing::IsEmpty());
    for (const Answer& answer : answers_) EXPECT_EQ(answer.count(), 1);
  }

  void Start(std::unique_ptr<PolicyRunner> runner = nullptr) {
    policy_ = std::make_unique<FakePolicy>(policy_options_);
    budget_ = std::make_unique<SessionBudget>(max_sessions_);
    RunnerOptions runner_options;
    runner_options.num_blocks = options_.num_blocks;
    if (runner == nullptr) runner = *policy_->CreateRunner(runner_options);
    executor_ = std::make_unique<Executor>(
        Executor::Parts{FakeVersion(1, policy_.get()), std::move(runner),
                        budget_.get(), &observer_, &clock_, journal_,
                        finished_steps_},
        options_);
  }

  StepTask Task(const std::string& actor, const std::vector<std::int64_t>& xs,
                Answer** answer) {
    answers_.emplace_back();
    *answer = &answers_.back();
    return MakeFakeTask(actor, xs, policy_options_, *answer);
  }
  void Submit(StepTask task) {
    QueuedTask queued;
    queued.task = std::move(task);
    queued.submitted = clock_.Now();
    executor_->Admit(std::move(queued), clock_.Now());
  }
  SessionList List(const std::string& prefix, std::int64_t max = 1000) {
    SessionList result;
    QueuedTask queued;
    ListTask task;
    task.actor_prefix = prefix;
    task.max_sessions = max;
    task.done = [&result](const absl::StatusOr<SessionList>& list) {
      result = list.value();
    };
    queued.task = std::move(task);
    executor_->Admit(std::move(queued), clock_.Now());
    return result;
  }
  // Any other task.
  template <typename AnyTask>
  void SubmitOther(AnyTask task) {
    QueuedTask queued;
    queued.task = std::move(task);
    queued.submitted = clock_.Now();
    executor_->Admit(std::move(queued), clock_.Now());
  }
  Answer* Step(const std::string& actor, const std::vector<std::int64_t>& xs) {
    Answer* answer = nullptr;
    Submit(Task(actor, xs, &answer));
    return answer;
  }
  Answer* Reset(const std::string& actor) {
    answers_.emplace_back();
    QueuedTask queued;
    queued.task = MakeFakeReset(actor, &answers_.back());
    queued.submitted = clock_.Now();
    executor_->Admit(std::move(queued), clock_.Now());
    return &answers_.back();
  }

  bool IsDue() { return executor_->NextFire(clock_.Now()).at <= clock_.Now(); }
  void RunBatch() { executor_->RunBatch(clock_.Now()); }
  // Whatever is queued, without waiting for more.
  void RunAll() {
    executor_->StartDraining();
    for (int i = 0; i < 10000 && executor_->num_unfinished() > 0; ++i) {
      RunBatch();
    }
    EXPECT_EQ(executor_->num_unfinished(), 0);
  }

  // A session of `steps` steps, idle.
  void Grow(const std::string& actor, int steps) {
    for (int i = 0; i < steps; ++i) {
      Step(actor, {i});
      RunBatch();
    }
  }
  StepReply Replay(const std::string& actor,
                   const std::vector<std::int64_t>& before,
                   const std::vector<std::int64_t>& xs,
                   bool answer_all = false) {
    ReplayedActor replayed(actor, policy_options_);
    if (!before.empty()) replayed.Step(before);
    return replayed.Step(xs, {}, answer_all);
  }
  std::int64_t NumCached(const std::string& actor) {
    return executor_->FindSession(actor)->num_cached_tokens;
  }

  FakePolicyOptions policy_options_;  // four tokens per block
  ExecutorOptions options_;
  Journal* journal_ = nullptr;
  FinishedStepSink* finished_steps_ = nullptr;
  std::int64_t max_sessions_ = 1000;
  FakeClock clock_;
  RecordingObserver observer_;
  std::unique_ptr<FakePolicy> policy_;
  std::unique_ptr<SessionBudget> budget_;
  std::deque<Answer> answers_;
  std::unique_ptr<Executor> executor_;
};

}  // namespace stepd

#endif  // STEPD_TESTS_SERVER_ENGINE_EXECUTOR_FIXTURE_H_
