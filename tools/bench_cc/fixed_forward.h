// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// One forward again and again: each session's next step after a context of
// given length, in one batch on the calling thread. The contexts do not grow,
// so that times of different lengths can be compared.
//
// Thread safety: none.

#ifndef STEPD_TOOLS_BENCH_CC_FIXED_FORWARD_H_
#define STEPD_TOOLS_BENCH_CC_FIXED_FORWARD_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/policy.h"
#include "model/step.h"

namespace stepd::bench {

class FixedForward {
 public:
  // A session per length, in tokens. Every block that a forward reads has been
  // written. `policy` must outlive it.
  // Errors: those of Policy::CreateRunner() and PolicyRunner::Forward()
  //         kUnimplemented  the policy's steps are not one token each
  static absl::StatusOr<std::unique_ptr<FixedForward>> Create(
      const Policy* policy, const std::vector<std::int64_t>& lengths);

  // CPU seconds of one forward.
  // Errors: those of PolicyRunner::Forward()
  absl::StatusOr<double> Run();

 private:
  FixedForward(const Policy* policy, const std::vector<std::int64_t>& lengths);

  absl::Status WriteBlocks();

  const Policy& policy_;
  std::vector<std::string> steps_;                 // one per session
  std::vector<std::vector<std::int32_t>> blocks_;  // likewise
  std::unique_ptr<PolicyRunner> runner_;
  StepBatch batch_;
  StepResult result_;
};

}  // namespace stepd::bench

#endif  // STEPD_TOOLS_BENCH_CC_FIXED_FORWARD_H_
