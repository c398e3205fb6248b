// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/fakes/fake_task.h"

#include <cstring>
#include <ostream>
#include <utility>

#include "absl/strings/str_join.h"
#include "server/common/stable_hash.h"

namespace stepd {
namespace {

// NaN rows (of NaN steps) equal each other.
bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() &&
         (a.empty() ||
          std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

}  // namespace

StepDone Answer::ForStep() {
  return [this](absl::StatusOr<StepReply> reply) { Set(std::move(reply)); };
}

absl::AnyInvocable<void(absl::Status)> Answer::ForReset() {
  return [this](absl::Status status) {
    Set(status.ok() ? absl::StatusOr<StepReply>(StepReply()) : status);
  };
}

void Answer::Set(absl::StatusOr<StepReply> reply) {
  MutexLock lock(&mu_);
  reply_ = std::move(reply);
  ++count_;
  done_.NotifyAll();
}

absl::StatusOr<StepReply> Answer::Wait() const {
  MutexLock lock(&mu_);
  while (count_ == 0) done_.Wait(&mu_);
  return reply_;
}

bool Answer::is_done() const { return count() > 0; }

int Answer::count() const {
  MutexLock lock(&mu_);
  return count_;
}

absl::Status Answer::status() const {
  MutexLock lock(&mu_);
  return reply_.status();
}

StepReply Answer::reply() const {
  MutexLock lock(&mu_);
  return reply_.value();
}

StepTask MakeFakeTask(absl::string_view actor,
                      const std::vector<std::int64_t>& xs,
                      const FakePolicyOptions& policy, Answer* answer) {
  StepTask task;
  task.actor_id = std::string(actor);
  for (std::int64_t x : xs) {
    const std::string step = EncodeFakeStep(x);
    task.steps.Append(step);
    task.num_tokens.push_back(CountFakeTokens(policy, step));
  }
  task.done = answer->ForStep();
  return task;
}

ResetTask MakeFakeReset(absl::string_view actor, Answer* answer) {
  return MakeReset(actor, answer->ForReset());
}

ResetTask MakeReset(absl::string_view actor,
                    absl::AnyInvocable<void(absl::Status)> done) {
  ResetTask task;
  task.actor_id = std::string(actor);
  task.done = std::move(done);
  return task;
}

ReplayedActor::ReplayedActor(absl::string_view actor,
                             const FakePolicyOptions& policy,
                             const ContextLimits& context)
    : actor_hash_(StableHash(actor)),
      policy_(policy),
      context_(context),
      history_(policy),
      num_tokens_(policy.num_prefix_tokens) {}

void ReplayedActor::See(const std::string& step) {
  seen_.push_back(step);
  const auto max = static_cast<std::size_t>(context_.max_steps);
  if (context_.keep_steps == 0 || seen_.size() <= max) {
    history_.Append(step);
    num_tokens_ += CountFakeTokens(policy_, step);
    return;
  }
  while (seen_.size() > static_cast<std::size_t>(context_.keep_steps)) {
    seen_.pop_front();
  }
  history_ = FakeHistory(policy_, session_inputs_);
  num_tokens_ = policy_.num_prefix_tokens;
  for (const std::string& kept : seen_) {
    history_.Append(kept);
    num_tokens_ += CountFakeTokens(policy_, kept);
  }
}

StepReply ReplayedActor::Step(const std::vector<std::int64_t>& xs,
                              const SamplingParams& sampling,
                              bool answer_all_steps, OutputMask outputs,
                              const std::vector<std::uint8_t>& action_mask) {
  StepReply reply;
  // Those of the fake policy, then entropy and probs.
  if (outputs != 0) reply.outputs.resize(policy_.num_actions > 0 ? 4 : 2);
  for (std::size_t i = 0; i < xs.size(); ++i) {
    See(EncodeFakeStep(xs[i]));
    const auto index = static_cast<std::uint64_t>(num_steps_++);
    if (!answer_all_steps && i + 1 < xs.size()) continue;
    if (policy_.num_actions > 0) {
      const auto num_actions = static_cast<std::size_t>(policy_.num_actions);
      absl::Span<const std::uint8_t> mask = action_mask;
      mask = mask.subspan(mask.empty() ? 0 : reply.actions.size() * num_actions,
                          mask.empty() ? 0 : num_actions);
      const std::vector<float> scores = history_.Scores();
      Act(ActionDistribution::Create(scores, mask, sampling).value(),
          {sampling.seed, actor_hash_, index}, outputs, &reply);
    }
    ++reply.num_answered;
    if ((outputs & 1) != 0) reply.outputs[0].push_back(history_.Value());
    if ((outputs & 2) != 0) {
      for (float x : history_.Hidden()) reply.outputs[1].push_back(x);
    }
  }
  reply.step_index = static_cast<std::uint64_t>(num_steps_);
  return reply;
}

void ReplayedActor::Act(const ActionDistribution& distribution,
                        const DrawId& draw, OutputMask outputs,
                        StepReply* reply) const {
  const std::int64_t action = distribution.Draw(draw);
  reply->actions.push_back(action);
  reply->log_probs.push_back(static_cast<float>(distribution.LogProb(action)));
  if ((outputs & 4) != 0) {
    reply->outputs[2].push_back(static_cast<float>(distribution.Entropy()));
  }
  if ((outputs & 8) == 0) return;
  for (std::int64_t a = 0; a < policy_.num_actions; ++a) {
    reply->outputs[3].push_back(static_cast<float>(distribution.Prob(a)));
  }
}

void ReplayedActor::Reset(absl::string_view session_inputs) {
  session_inputs_ = std::string(session_inputs);
  history_ = FakeHistory(policy_, session_inputs);
  seen_.clear();
  num_steps_ = 0;
  num_tokens_ = policy_.num_prefix_tokens;
}

bool operator==(const StepReply& a, const StepReply& b) {
  if (a.num_answered != b.num_answered || a.actions != b.actions ||
      !SameBits(a.log_probs, b.log_probs) || a.step_index != b.step_index ||
      a.outputs.size() != b.outputs.size()) {
    return false;
  }
  for (std::size_t i = 0; i < a.outputs.size(); ++i) {
    if (!SameBits(a.outputs[i], b.outputs[i])) return false;
  }
  return true;
}

std::ostream& operator<<(std::ostream& os, const StepReply& reply) {
  os << "step " << reply.step_index << " actions "
     << absl::StrJoin(reply.actions, ",") << " log_probs "
     << absl::StrJoin(reply.log_probs, ",");
  for (const std::vector<float>& output : reply.outputs) {
    os << " output " << absl::StrJoin(output, ",");
  }
  return os;
}

}  // namespace stepd
