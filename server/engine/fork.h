// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// A fork whose new sessions belong to several executors: those of the source's
// executor share its blocks and its log; the others get a copy of the log, and
// are computed again with their first step. Either all are made or none.
//
// Thread safety: thread-safe.

#ifndef STEPD_SERVER_ENGINE_FORK_H_
#define STEPD_SERVER_ENGINE_FORK_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/engine/session_task.h"

namespace stepd {

// Hands a task to the executor of its actor.
using SubmitTask = std::function<absl::Status(Task)>;

// Forks `task.actor_id` into `task.forks`, which are on its executor, and into
// `others`, which are not. `submit` must work until `task.done` is called.
// Errors: as `submit`; nothing happened then, and `done` is not called.
absl::Status ForkAcross(ForkTask task, std::vector<std::string> others,
                        SubmitTask submit);

}  // namespace stepd

#endif  // STEPD_SERVER_ENGINE_FORK_H_
