// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The result of a benchmark as a Markdown table, which a terminal shows as well
// as a page.
//
// Thread safety: reentrant.

#ifndef STEPD_TOOLS_BENCH_CC_REPORT_H_
#define STEPD_TOOLS_BENCH_CC_REPORT_H_

#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/statusor.h"

namespace stepd::bench {

// Errors: kInvalidArgument  `result` is not what RunBenchmark() returns
absl::StatusOr<std::string> FormatMarkdown(
    const nlohmann::ordered_json& result);

// Into every case that an earlier result has too: "over_before", how many times
// its steps per second. They were measured at other times: what disturbed the
// machine is in it.
// Errors: kInvalidArgument  `before` is not what RunBenchmark() returns
absl::Status CompareWith(const nlohmann::ordered_json& before,
                         nlohmann::ordered_json* result);

}  // namespace stepd::bench

#endif  // STEPD_TOOLS_BENCH_CC_REPORT_H_
