// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The figures of a forward as JSON and as a table.
//
// Thread safety: reentrant.

#ifndef STEPD_TOOLS_BENCH_CC_FORWARD_REPORT_H_
#define STEPD_TOOLS_BENCH_CC_FORWARD_REPORT_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tools/bench_cc/forward_figures.h"

namespace stepd::bench {

// MeasureForward(), or another one of its kind.
using Measurement =
    absl::StatusOr<std::vector<ForwardFigure>> (*)(const ForwardOptions&);

// Of random weights in `shape`, unless the options name a checkpoint.
// Errors: those of `measure`
//         kInvalidArgument  there is no such shape
absl::StatusOr<nlohmann::ordered_json> BenchmarkForward(
    Measurement measure, const ForwardOptions& options,
    const std::string& shape);

// A row per figure: its median, and the rounds it lies between.
std::string FormatForward(const nlohmann::ordered_json& result);

}  // namespace stepd::bench

#endif  // STEPD_TOOLS_BENCH_CC_FORWARD_REPORT_H_
