// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Whether a step may start: what its caller, its session and the policy say.
//
// Thread safety: thread-safe.

#ifndef STEPD_SERVER_ENGINE_ADMISSION_H_
#define STEPD_SERVER_ENGINE_ADMISSION_H_

#include <cstdint>

#include "absl/status/status.h"
#include "model/policy_spec.h"
#include "model/step.h"
#include "server/common/clock.h"
#include "server/engine/context.h"
#include "server/engine/session_blocks.h"
#include "server/engine/slicer.h"
#include "server/engine/step_task.h"
#include "server/engine/work.h"

namespace stepd {

// OK unless the caller no longer wants an answer.
// Errors: kCancelled         CANCELLED
//         kDeadlineExceeded  DEADLINE
absl::Status CheckWanted(const StepTask& task, MonotonicTime now);

class Admission {
 public:
  // `spec`, `slicer` and `blocks` must outlive it.
  Admission(const PolicySpec& spec, const Slicer& slicer,
            const ContextLimits& limits, const SessionBlocks& blocks);

  // Whether the session, as it is now, can have the steps of `work`.
  // Errors: kInvalidArgument     FIELD_MISSING: a session input
  //         kFailedPrecondition  SESSION_INPUTS, CONTEXT_FULL
  //         kResourceExhausted   CACHE_FULL
  absl::Status Check(const Work& work) const;

 private:
  absl::Status CheckSessionInputs(const Work& work) const;
  absl::Status CheckLimits(const Work& work) const;

  const PolicySpec& spec_;
  const Slicer& slicer_;
  const StepLayout session_layout_;
  const ContextLimits limits_;
  const SessionBlocks& blocks_;
};

}  // namespace stepd

#endif  // STEPD_SERVER_ENGINE_ADMISSION_H_
