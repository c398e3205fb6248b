// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Percentiles and medians of what was measured.
//
// Thread safety: reentrant.

#ifndef STEPD_TOOLS_BENCH_CC_STATISTICS_H_
#define STEPD_TOOLS_BENCH_CC_STATISTICS_H_

#include <nlohmann/json.hpp>
#include <vector>

namespace stepd::bench {

// The smallest sample that at least `share` of them do not exceed; 0 if there
// are none.
// REQUIRES: `sorted` is in rising order; 0 <= share <= 1
double Percentile(const std::vector<float>& sorted, double share);

// The middle one, or the mean of the two in the middle; 0 if there are none.
double Median(std::vector<double> values);

// Of an array of flat objects of numbers: for each name the median over those
// that have it.
nlohmann::ordered_json Medians(const nlohmann::ordered_json& rounds);

}  // namespace stepd::bench

#endif  // STEPD_TOOLS_BENCH_CC_STATISTICS_H_
