// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Exactly once: whether a task is the next of its session, one that was
// answered already, or neither.
//
// Thread safety: pure functions.

#ifndef STEPD_SERVER_ENGINE_STEP_ORDER_H_
#define STEPD_SERVER_ENGINE_STEP_ORDER_H_

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/engine/session.h"
#include "server/engine/step_task.h"

namespace stepd {

enum class StepOrder {
  kNext,      // runs at the end of the session's log, if only as its first
  kRepeated,  // the session's last one: its reply is session.answered
  kNewEpoch,  // the first of a later epoch: the session is over
};

// What a task without a step index says follows whatever there is.
// Errors: kFailedPrecondition  STEP_INDEX: the session is elsewhere, or in a
//                              later epoch (metadata: expected, epoch)
//         kNotFound            SESSION_UNKNOWN: there are no steps before it
//                              (metadata: expected, which is 0)
absl::StatusOr<StepOrder> OrderOf(const StepTask& task, const Session& session);

// Whether the session is where its caller believes it to be; what is absent is
// not asked.
// Errors: as OrderOf(); without a step it is unknown
absl::Status CheckWhere(const Session& session,
                        const std::optional<std::uint64_t>& epoch,
                        const std::optional<std::uint64_t>& num_steps);

// Of all that decides the reply. Equal in every process. `session_inputs`:
// those that the task came with, wherever they are by now.
std::uint64_t ContentHash(const StepTask& task,
                          absl::string_view session_inputs);

}  // namespace stepd

#endif  // STEPD_SERVER_ENGINE_STEP_ORDER_H_
