// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// How much of a session's history the policy sees.
//
// Thread safety: plain values.

#ifndef STEPD_SERVER_ENGINE_CONTEXT_H_
#define STEPD_SERVER_ENGINE_CONTEXT_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "model/policy_spec.h"
#include "server/engine/step_task.h"

namespace stepd {

// A context of max_steps steps is full. Without keep_steps its session then
// refuses further steps (CONTEXT_FULL). With it the context is rebuilt from the
// last keep_steps steps, the new one among them, at positions from 0 on, and
// grows again ("grow-then-rebuild").
//
// The context that a policy sees may be shorter than the log anyway: then
// keep_steps from WindowSteps() on change no answer (but by rounding, because
// positions count anew), and a session has no end.
//
// A context is forgotten at a boundary of at least `forget_at`.
struct ContextLimits {
  std::int64_t max_steps = 4096;
  std::int64_t keep_steps = 0;           // 0: none; else at most max_steps
  Boundary forget_at = Boundary::kTask;  // kNone: never

  bool rebuilds() const { return keep_steps > 0; }
  bool forgets(Boundary boundary) const {
    return forget_at != Boundary::kNone && boundary >= forget_at;
  }
  // First step of the context in which step `index` is computed, if the
  // context before it began at step `begin`.
  std::int64_t BeginFor(std::int64_t begin, std::int64_t index) const {
    return rebuilds() && index + 1 - begin > max_steps ? index + 1 - keep_steps
                                                       : begin;
  }
};

// Steps of a context that hides nothing from the last of them.
// Errors: kInvalidArgument  the policy sees the whole context, however long
absl::StatusOr<std::int64_t> WindowSteps(const PolicySpec& spec);

// Consecutive steps of a session, as the tokens that its blocks hold.
struct ContextSpan {
  std::int64_t begin = 0;  // step index
  std::int64_t end = 0;    // one past the last step
  std::int64_t num_tokens = 0;
};

}  // namespace stepd

#endif  // STEPD_SERVER_ENGINE_CONTEXT_H_
