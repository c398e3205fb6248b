// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The figures of a forward pass alone, without a server: what they are for is
// in docs/benchmarks.md. Cases that are compared run in turns, on one core.
//
// Thread safety: none.

#ifndef STEPD_TOOLS_BENCH_CC_FORWARD_FIGURES_H_
#define STEPD_TOOLS_BENCH_CC_FORWARD_FIGURES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace stepd::bench {

struct ForwardOptions {
  std::string checkpoint;
  int rounds = 5;
  double seconds = 0.2;  // per case and round
  // Of the figures that follow how time grows with the context.
  int longest_context = 4096;
};

struct ForwardFigure {
  std::string name;
  std::vector<double> rounds;
};

// Errors: those of loading and of the forward
absl::StatusOr<std::vector<ForwardFigure>> MeasureForward(
    const ForwardOptions& options);

}  // namespace stepd::bench

#endif  // STEPD_TOOLS_BENCH_CC_FORWARD_FIGURES_H_
