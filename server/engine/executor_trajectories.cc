// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/executor_trajectories.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <variant>

#include "server/engine/session.h"

namespace stepd {

void ExecutorTrajectories::Add(const Work& work) {
  if (sink_ == nullptr || !sink_->is_open()) return;
  const Session& session = *work.session;
  const auto& task = std::get<StepTask>(work.task);
  const StepReply& reply = work.reply;
  const std::size_t first_answered =
      task.steps.size() - static_cast<std::size_t>(reply.num_answered);
  for (std::size_t i = 0; i < task.steps.size(); ++i) {
    FinishedStep step;
    step.actor_id = session.actor_id;
    step.epoch = session.epoch;
    step.step_index = static_cast<std::uint64_t>(session.num_steps()) + i;
    step.inputs = std::string(task.steps[i]);
    step.model_version = reply.model_version;
    if (i == 0) step.boundary = task.boundary;
    if (step.step_index == 0) {
      step.session_inputs = std::string(InputsOf(session));
    }
    step.is_answered = i >= first_answered;
    if (step.is_answered && !reply.actions.empty()) {
      step.action = reply.actions[i - first_answered];
      step.log_prob = reply.log_probs[i - first_answered];
    }
    steps_.push_back(std::move(step));
  }
}

void ExecutorTrajectories::Tell() {
  if (steps_.empty()) return;
  sink_->Take(std::exchange(steps_, {}));
}

}  // namespace stepd
