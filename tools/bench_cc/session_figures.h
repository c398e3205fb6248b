// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What an executor takes for a reset and for a fork, by the session's length.
//
// Thread safety: pure function.

#ifndef STEPD_TOOLS_BENCH_CC_SESSION_FIGURES_H_
#define STEPD_TOOLS_BENCH_CC_SESSION_FIGURES_H_

#include <vector>

#include "absl/status/statusor.h"
#include "tools/bench_cc/forward_figures.h"

namespace stepd::bench {

// Microseconds of one reset and of one fork on the executor's thread; of each
// round, the median and the largest of many. Contexts are at most
// options.longest_context steps.
// Errors: those of loading and of the forward
absl::StatusOr<std::vector<ForwardFigure>> MeasureSessions(
    const ForwardOptions& options);

}  // namespace stepd::bench

#endif  // STEPD_TOOLS_BENCH_CC_SESSION_FIGURES_H_
