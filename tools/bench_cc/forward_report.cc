// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tools/bench_cc/forward_report.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tools/bench_cc/machine.h"
#include "tools/bench_cc/random_checkpoint.h"
#include "tools/bench_cc/statistics.h"
#include "tools/bench_cc/temporary_folder.h"

namespace stepd::bench {
namespace {

using Json = nlohmann::ordered_json;

Json ToJson(const std::vector<ForwardFigure>& figures) {
  Json rows = Json::array();
  for (const ForwardFigure& figure : figures) {
    rows.push_back({{"name", figure.name},
                    {"median", Median(figure.rounds)},
                    {"rounds", figure.rounds}});
  }
  return rows;
}

}  // namespace

absl::StatusOr<Json> BenchmarkForward(Measurement measure,
                                      const ForwardOptions& options,
                                      const std::string& shape) {
  ForwardOptions with_checkpoint = options;
  const auto folder = TemporaryFolder::Create();
  if (!folder.ok()) return folder.status();
  if (options.checkpoint.empty()) {
    const auto found = FindPolicyShape(shape);
    if (!found.ok()) return found.status();
    with_checkpoint.checkpoint = (*folder)->path();
    const absl::Status status =
        WriteRandomCheckpoint(*found, kWeightsSeed, (*folder)->path());
    if (!status.ok()) return status;
  }
  Json result;
  result["date"] = UtcDate();
  result["machine"] = DescribeMachine();
  result["machine"]["load_average_before"] = LoadAverage();
  const auto figures = measure(with_checkpoint);
  if (!figures.ok()) return figures.status();
  result["machine"]["load_average_after"] = LoadAverage();
  result["figures"] = ToJson(*figures);
  return result;
}

std::string FormatForward(const Json& result) {
  std::string text =
      "| figure | median | least | most |\n| --- | --: | --: | --: |\n";
  for (const Json& row : result.at("figures")) {
    const std::vector<double> rounds = row.at("rounds");
    const auto [least, most] =
        std::minmax_element(rounds.begin(), rounds.end());
    absl::StrAppend(
        &text, absl::StrFormat("| %s | %.2f | %.2f | %.2f |\n",
                               row.at("name").get<std::string>(),
                               row.at("median").get<double>(), *least, *most));
  }
  return text;
}

}  // namespace stepd::bench
