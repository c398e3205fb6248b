// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What can be said of a session without changing it.
//
// Thread safety: plain values.

#ifndef STEPD_SERVER_ENGINE_SESSION_INFO_H_
#define STEPD_SERVER_ENGINE_SESSION_INFO_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "server/engine/observer.h"
#include "server/engine/step_task.h"

namespace stepd {

struct SessionInfo {
  std::string actor_id;
  std::uint64_t epoch = 0;
  ServedFrom tier =
      ServedFrom::kNew;  // what the next step would be served from
  // The weights that its context is of, and the oldest and newest ones that
  // made what is cached of it; 0: none.
  std::uint64_t model_version = 0;
  std::uint64_t context_version_min = 0;
  std::uint64_t context_version_max = 0;
  std::int64_t num_steps = 0;
  std::int64_t context_steps = 0;   // of them, those that the policy sees
  std::int64_t context_tokens = 0;  // of these
  std::int64_t cached_tokens = 0;   // of these, those in KV blocks
  std::int64_t num_blocks = 0;
  std::int64_t num_shared_blocks = 0;  // with forks
  std::int64_t log_bytes = 0;          // of the context's steps and inputs
  int executor = 0;
  bool is_busy = false;  // steps of it are queued or running
  absl::Duration idle;   // since its last step; 0 if it is busy
};

// A session that is no more, or no more in memory.
struct EndedSession {
  std::string actor_id;
  SessionEnd end = SessionEnd::kReset;
  std::uint64_t epoch = 0;
  std::int64_t num_steps = 0;
  absl::Time time;
};

struct SessionList {
  std::int64_t num_sessions = 0;  // in memory, listed or not
  std::vector<SessionInfo> sessions;
  std::vector<EndedSession> ended;  // the latest, oldest first
};

}  // namespace stepd

#endif  // STEPD_SERVER_ENGINE_SESSION_INFO_H_
