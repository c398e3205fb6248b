// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// An engine that computes nothing: the test takes each task out and completes
// it by hand.
//
// Thread safety: thread-safe.

#ifndef STEPD_TESTS_SERVER_SERVICE_FAKE_ENGINE_H_
#define STEPD_TESTS_SERVER_SERVICE_FAKE_ENGINE_H_

#include <algorithm>
#include <deque>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "server/common/mutex.h"
#include "server/engine/engine.h"
#include "tests/fakes/fake_policy.h"

namespace stepd {

class FakeEngine : public Engine {
 public:
  explicit FakeEngine(const FakePolicyOptions& options = {})
      : policy_(options) {}

  const PolicySpec& spec() const override { return policy_.spec(); }
  const InputRules& input_rules() const override { return policy_; }
  std::uint64_t stable_version() const override { return 16; }
  absl::Status RollOut(const Rollout&) override {
    return absl::UnimplementedError("this engine has one version");
  }

  absl::Status Submit(Task task) override {
    MutexLock lock(&mu_);
    if (!refusal_.ok()) return refusal_;
    if (auto* step = std::get_if<StepTask>(&task)) {
      steps_.push_back(std::move(*step));
      max_queued_ = std::max(max_queued_, steps_.size());
    } else {
      resets_.push_back(std::get<ResetTask>(std::move(task)));
    }
    changed_.NotifyAll();
    return absl::OkStatus();
  }
  void Drain() override {}

  // What Submit() returns from now on.
  void Refuse(absl::Status status) {
    MutexLock lock(&mu_);
    refusal_ = std::move(status);
  }

  // The oldest task; waits for one.
  StepTask TakeStep() {
    MutexLock lock(&mu_);
    while (steps_.empty()) changed_.Wait(&mu_);
    StepTask task = std::move(steps_.front());
    steps_.pop_front();
    return task;
  }
  ResetTask TakeReset() {
    MutexLock lock(&mu_);
    while (resets_.empty()) changed_.Wait(&mu_);
    ResetTask task = std::move(resets_.front());
    resets_.pop_front();
    return task;
  }

  // Steps that ever were in the queue together.
  std::size_t max_queued() const {
    MutexLock lock(&mu_);
    return max_queued_;
  }

 private:
  const FakePolicy policy_;
  mutable Mutex mu_;
  CondVar changed_;
  absl::Status refusal_ ABSL_GUARDED_BY(mu_);
  std::deque<StepTask> steps_ ABSL_GUARDED_BY(mu_);
  std::deque<ResetTask> resets_ ABSL_GUARDED_BY(mu_);
  std::size_t max_queued_ ABSL_GUARDED_BY(mu_) = 0;
};

// An answer of one step.
inline StepReply FakeReply(std::int64_t action, std::uint64_t step_index) {
  StepReply reply;
  reply.num_answered = 1;
  reply.actions = {action};
  reply.log_probs = {-0.5F};
  reply.step_index = step_index;
  reply.model_version = 7;
  reply.context_version_min = 5;
  reply.context_version_max = 7;
  return reply;
}

}  // namespace stepd

#endif  // STEPD_TESTS_SERVER_SERVICE_FAKE_ENGINE_H_
