// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// A closed loop of simulated actors against a running server: each sends its
// next step when it has the answer to the last one. Their episodes are
// staggered, so that at any time their sessions are of all lengths. In the mode
// "open" steps are due at random times instead, whatever the server does.
//
// Thread safety: none.

#ifndef STEPD_TOOLS_BENCH_CC_CLOSED_LOOP_H_
#define STEPD_TOOLS_BENCH_CC_CLOSED_LOOP_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "tools/bench_cc/lane.h"

namespace stepd::bench {

enum class Mode { kUnary, kStream, kBatch, kOpen };
absl::string_view Name(Mode mode);
// Errors: kInvalidArgument  no such mode
absl::StatusOr<Mode> FindMode(absl::string_view name);

struct ClosedLoopOptions {
  std::string target;  // as gRPC takes it
  Mode mode = Mode::kUnary;
  int num_actors = 1;
  int num_threads = 1;
  int num_connections = 1;  // in all; each has its share of the actors
  int rows_per_batch = 32;  // at most, in a StepBatch
  int episode_steps = 128;
  double steps_per_second = 0.0;  // that are due in an open loop
};

struct ClosedLoopResult {
  double steps_per_second = 0.0;
  std::vector<float> latencies;  // seconds, of each call; sorted
};

class ClosedLoop {
 public:
  // Connects, and brings every actor's session to its position.
  // Errors: those of the server's calls
  static absl::StatusOr<std::unique_ptr<ClosedLoop>> Create(
      const ClosedLoopOptions& options);

  // Resets the actors.
  virtual ~ClosedLoop() = default;

  // What the server says it is.
  virtual const std::string& server_version() const = 0;
  virtual const std::string& summary() const = 0;

  // Blocks until the window is over and all calls are answered.
  // Errors: the first failure of a call
  virtual absl::StatusOr<ClosedLoopResult> Run(const Window& window) = 0;
};

}  // namespace stepd::bench

#endif  // STEPD_TOOLS_BENCH_CC_CLOSED_LOOP_H_
