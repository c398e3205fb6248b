// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The forward passes that a server of the same actors has to make, and nothing
// else: no RPC, no queue, no sessions, no sampling. What a server reaches of
// this rate is the measure of its overhead.
//
// Every thread owns a share of the sessions, as an executor does, and steps all
// of them in each batch; sessions are at staggered positions of their episodes.
//
// Thread safety: none.

#ifndef STEPD_TOOLS_BENCH_CC_RAW_FORWARD_H_
#define STEPD_TOOLS_BENCH_CC_RAW_FORWARD_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/policy.h"

namespace stepd::bench {

struct RawForwardOptions {
  int num_actors = 1;
  int num_threads = 1;  // at most num_actors are used
  int episode_steps = 128;
};

struct RawForwardResult {
  double steps_per_second = 0.0;
  double batch = 0.0;            // mean sessions of a forward
  double forward_seconds = 0.0;  // mean time of a forward
  double cpu_seconds_per_step = 0.0;
};

class RawForward {
 public:
  // Computes every session up to its position.
  // `policy` must outlive it.
  // Errors: those of Policy::CreateRunner() and PolicyRunner::Forward()
  static absl::StatusOr<std::unique_ptr<RawForward>> Create(
      const Policy* policy, const RawForwardOptions& options);

  virtual ~RawForward() = default;

  // Errors: those of PolicyRunner::Forward()
  virtual absl::StatusOr<RawForwardResult> Run(absl::Duration duration) = 0;
};

}  // namespace stepd::bench

#endif  // STEPD_TOOLS_BENCH_CC_RAW_FORWARD_H_
