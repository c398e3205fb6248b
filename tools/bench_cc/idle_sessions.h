// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Sessions that nobody uses: what a server keeps of actors that are away.
//
// Thread safety: reentrant.

#ifndef STEPD_TOOLS_BENCH_CC_IDLE_SESSIONS_H_
#define STEPD_TOOLS_BENCH_CC_IDLE_SESSIONS_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace stepd::bench {

// Gives the sessions of actors `begin` .. `end` - 1 one step each.
// Errors: those of the server's calls
absl::Status OpenIdleSessions(const std::string& target, int begin, int end);

// Bytes of the values of one step, which a session's log cannot do without.
// Errors: those of the server's calls
absl::StatusOr<std::int64_t> StepBytes(const std::string& target);

}  // namespace stepd::bench

#endif  // STEPD_TOOLS_BENCH_CC_IDLE_SESSIONS_H_
