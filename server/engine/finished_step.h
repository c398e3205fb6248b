// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What executors tell of finished steps besides answering them.

#ifndef STEPD_SERVER_ENGINE_FINISHED_STEP_H_
#define STEPD_SERVER_ENGINE_FINISHED_STEP_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "server/engine/step_task.h"

namespace stepd {

// A step that belongs to its session now: plain data.
struct FinishedStep {
  std::string actor_id;
  std::uint64_t epoch = 0;
  std::uint64_t step_index = 0;  // steps of the session before it
  Boundary boundary = Boundary::kNone;
  std::string inputs;          // encoded (model/step.h)
  std::string session_inputs;  // encoded; of the step that opened the session
  bool is_answered = false;
  std::int64_t action = 0;  // if it is answered and the policy has actions
  float log_prob = 0.0F;    // of the action
  std::uint64_t model_version = 0;  // of the task's last step

  std::size_t num_bytes() const {
    return sizeof(*this) + actor_id.size() + inputs.size() +
           session_inputs.size();
  }
};

// Thread safety: called concurrently by the executors; implementations must be
// thread-safe and must not block.
class FinishedStepSink {
 public:
  virtual ~FinishedStepSink() = default;

  // Whether anybody wants them: asked for every task.
  virtual bool is_open() const = 0;

  // Steps of one batch, in the journal and in their sessions by now; those of
  // one actor come in their order, and from one executor. Each is told once;
  // one that a client sends again because the session was lost is another.
  virtual void Take(std::vector<FinishedStep> steps) = 0;
};

}  // namespace stepd

#endif  // STEPD_SERVER_ENGINE_FINISHED_STEP_H_
