// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tools/bench_cc/statistics.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace stepd::bench {

double Percentile(const std::vector<float>& sorted, double share) {
  if (sorted.empty()) return 0.0;
  const double rank = std::ceil(share * static_cast<double>(sorted.size()));
  const auto index = static_cast<std::size_t>(std::max(rank - 1.0, 0.0));
  return sorted[std::min(index, sorted.size() - 1)];
}

double Median(std::vector<double> values) {
  if (values.empty()) return 0.0;
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  if (values.size() % 2 == 1) return values[middle];
  return (values[middle - 1] + values[middle]) / 2.0;
}

nlohmann::ordered_json Medians(const nlohmann::ordered_json& rounds) {
  nlohmann::ordered_json values = nlohmann::ordered_json::object();
  for (const auto& round : rounds) {
    for (const auto& [name, value] : round.items()) {
      values[name].push_back(value);
    }
  }
  nlohmann::ordered_json medians = nlohmann::ordered_json::object();
  for (const auto& [name, list] : values.items()) {
    medians[name] = Median(list.get<std::vector<double>>());
  }
  return medians;
}

}  // namespace stepd::bench
