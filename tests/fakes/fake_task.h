// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Tasks for the fake policy, and what their answers must be.
//
// Thread safety: plain values; Answer is thread-safe.

#ifndef STEPD_TESTS_FAKES_FAKE_TASK_H_
#define STEPD_TESTS_FAKES_FAKE_TASK_H_

#include <cstdint>
#include <deque>
#include <iosfwd>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/common/mutex.h"
#include "server/engine/context.h"
#include "server/engine/sampling.h"
#include "server/engine/session_task.h"
#include "server/engine/step_task.h"
#include "tests/fakes/fake_policy.h"

namespace stepd {

// The answer to one task: what it was, and how often it came. Must outlive the
// task.
class Answer {
 public:
  StepDone ForStep();
  absl::AnyInvocable<void(absl::Status)> ForReset();

  // Returns when the answer is there.
  absl::StatusOr<StepReply> Wait() const;

  bool is_done() const;
  int count() const;
  absl::Status status() const;  // kUnknown: not there yet
  StepReply reply() const;      // REQUIRES: status().ok()

 private:
  void Set(absl::StatusOr<StepReply> reply);

  mutable Mutex mu_;
  mutable CondVar done_;
  int count_ ABSL_GUARDED_BY(mu_) = 0;
  absl::StatusOr<StepReply> reply_ ABSL_GUARDED_BY(mu_);
};

// Steps {x} for each of `xs`, for a policy with default fields.
StepTask MakeFakeTask(absl::string_view actor,
                      const std::vector<std::int64_t>& xs,
                      const FakePolicyOptions& policy, Answer* answer);
ResetTask MakeFakeReset(absl::string_view actor, Answer* answer);
ResetTask MakeReset(absl::string_view actor,
                    absl::AnyInvocable<void(absl::Status)> done);

// What an actor alone would be answered: replays its whole history. The task
// must have been answered without an error.
class ReplayedActor {
 public:
  ReplayedActor(absl::string_view actor, const FakePolicyOptions& policy,
                const ContextLimits& context = {});

  StepReply Step(const std::vector<std::int64_t>& xs,
                 const SamplingParams& sampling = {},
                 bool answer_all_steps = false, OutputMask outputs = 0,
                 const std::vector<std::uint8_t>& action_mask = {});
  // As when it had never come; the next step opens a session of these inputs.
  void Reset(absl::string_view session_inputs = "");
  std::int64_t num_steps() const { return num_steps_; }
  // Of the context, its prefix included.
  std::int64_t num_tokens() const { return num_tokens_; }

 private:
  void See(const std::string& step);
  // Outputs 4 and 8 are entropy and probs.
  void Act(const ActionDistribution& distribution, const DrawId& draw,
           OutputMask outputs, StepReply* reply) const;

  const std::uint64_t actor_hash_;
  const FakePolicyOptions policy_;
  const ContextLimits context_;
  std::string session_inputs_;
  FakeHistory history_;
  std::deque<std::string> seen_;  // the steps in history_
  std::int64_t num_steps_ = 0;
  std::int64_t num_tokens_;
};

bool operator==(const StepReply& a, const StepReply& b);
std::ostream& operator<<(std::ostream& os, const StepReply& reply);

}  // namespace stepd

#endif  // STEPD_TESTS_FAKES_FAKE_TASK_H_
