// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What an actor asks for: a StepTask that can be sent again.
//
// Thread safety: plain values.

#ifndef STEPD_TESTS_SOAK_STEP_REQUEST_H_
#define STEPD_TESTS_SOAK_STEP_REQUEST_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "server/common/clock.h"
#include "server/engine/step_task.h"

namespace stepd {

struct StepRequest {
  // Requests are equal if this is.
  std::uint64_t content = 0;
  std::vector<std::string> steps;
  std::vector<int> num_tokens;
  std::string session_inputs;
  Boundary boundary = Boundary::kNone;
  SamplingParams sampling;
  std::vector<std::uint8_t> action_mask;
  OutputMask outputs = 0;
  bool answer_all_steps = false;
  bool is_ephemeral = false;

  std::optional<std::uint64_t> step_index;
  std::optional<std::uint64_t> epoch;
  std::uint64_t min_version = 0;
  std::optional<KvPolicy> kv_policy;
  MonotonicTime deadline = kInfiniteFuture;
  std::shared_ptr<std::atomic<bool>> is_cancelled;

  bool IsAnswered(std::size_t step) const {
    return answer_all_steps || step + 1 == steps.size();
  }
};

inline StepTask TaskOf(const std::string& actor_id, const StepRequest& request,
                       StepDone done) {
  StepTask task;
  task.actor_id = actor_id;
  for (const std::string& step : request.steps) task.steps.Append(step);
  task.num_tokens = request.num_tokens;
  task.session_inputs = request.session_inputs;
  task.boundary = request.boundary;
  task.sampling = request.sampling;
  task.action_mask = request.action_mask;
  task.outputs = request.outputs;
  task.answer_all_steps = request.answer_all_steps;
  task.is_ephemeral = request.is_ephemeral;
  task.step_index = request.step_index;
  task.epoch = request.epoch;
  task.version.min_version = request.min_version;
  task.version.kv_policy = request.kv_policy;
  task.deadline = request.deadline;
  task.is_cancelled = request.is_cancelled;
  task.done = std::move(done);
  return task;
}

}  // namespace stepd

#endif  // STEPD_TESTS_SOAK_STEP_REQUEST_H_
