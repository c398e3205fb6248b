// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tools/bench_cc/report.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace stepd::bench {
namespace {

using Json = nlohmann::ordered_json;
using Row = std::vector<std::string>;

struct Column {
  const char* title;
  const char* figure;
  int decimals;
};

constexpr std::array<Column, 18> kColumns = {{
    {"steps/s", "steps_per_second", 0},
    {"p50 ms", "p50_ms", 2},
    {"p90 ms", "p90_ms", 2},
    {"p99 ms", "p99_ms", 2},
    {"p99.9 ms", "p99.9_ms", 2},
    {"batch", "batch", 1},
    {"queue ms", "queue_wait_ms", 2},
    {"forward ms", "forward_ms", 2},
    {"forward / CPU", "forward_share", 2},
    {"executors / CPU", "executor_share", 2},
    {"CPU µs/step", "cpu_us_per_step", 1},
    {"raw CPU µs/step", "raw_cpu_us_per_step", 1},
    {"raw steps/s", "raw_steps_per_second", 0},
    {"raw / peak FLOP/s", "raw_over_peak", 2},
    {"served / raw", "served_over_raw", 2},
    {"served / best peer", "over_best_peer", 2},
    {"raw / raw peer", "raw_over_peer", 2},
    {"now / before", "over_before", 2},
}};

// 12345.6 -> "12,346".
std::string FormatWhole(double value) {
  std::string text = absl::StrFormat("%.0f", value);
  for (std::ptrdiff_t i = static_cast<std::ptrdiff_t>(text.size()) - 3; i > 0;
       i -= 3) {
    text.insert(static_cast<std::size_t>(i), ",");
  }
  return text;
}

std::string FormatFigure(const Json& figures, const Column& column) {
  if (!figures.contains(column.figure)) return "–";
  const double value = figures.at(column.figure);
  if (column.decimals == 0) return FormatWhole(value);
  return absl::StrFormat("%.*f", column.decimals, value);
}

std::string FormatRow(const Row& row) {
  std::string text = "|";
  for (const std::string& cell : row) absl::StrAppend(&text, " ", cell, " |");
  return absl::StrCat(text, "\n");
}

std::string FormatCases(const Json& cases) {
  Row titles = {"policy", "server", "mode", "actors"};
  Row rules = {"---", "---", "---", "--:"};
  for (const Column& column : kColumns) {
    titles.emplace_back(column.title);
    rules.emplace_back("--:");
  }
  std::string text = absl::StrCat(FormatRow(titles), FormatRow(rules));
  for (const Json& one : cases) {
    Row row = {one.at("model"), one.value("server", "stepd"), one.at("mode"),
               absl::StrCat(one.at("actors").get<int>())};
    for (const Column& column : kColumns) {
      row.push_back(FormatFigure(one.at("median"), column));
    }
    absl::StrAppend(&text, FormatRow(row));
  }
  return text;
}

std::string FormatLoad(const Json& machine, const char* when) {
  return absl::StrFormat("%.2f", machine.at(when).at(0).get<double>());
}

std::string FormatHeading(const Json& result) {
  const Json& machine = result.at("machine");
  const Json& options = result.at("options");
  return absl::StrCat(
      machine.at("cpu").get<std::string>(), ", ",
      machine.at("cores").get<int>(), " cores; load average ",
      FormatLoad(machine, "load_average_before"), " before, ",
      FormatLoad(machine, "load_average_after"), " after; ",
      result.at("date").get<std::string>(), "; commit ",
      result.at("commit").get<std::string>(), "; medians of ",
      options.at("rounds").get<int>(), " interleaved rounds of ",
      absl::StrFormat("%g", options.at("seconds").get<double>()), " s; ",
      options.at("executors").get<int>(), " executors, ",
      options.at("threads").get<int>(), " client thread(s), ",
      options.at("connections").get<int>(), " connection(s).\n\n");
}

bool IsSameCase(const Json& a, const Json& b) {
  const auto is_same = [&](const char* key) {
    return a.value(key, Json()) == b.value(key, Json());
  };
  return is_same("model") && is_same("mode") && is_same("actors") &&
         a.value("server", "stepd") == b.value("server", "stepd");
}

const Json* FindSame(const Json& cases, const Json& one) {
  for (const Json& other : cases) {
    if (IsSameCase(other, one)) return &other;
  }
  return nullptr;
}

}  // namespace

absl::Status CompareWith(const Json& before, Json* result) {
  const char* const rate = "steps_per_second";
  try {
    for (Json& now : result->at("cases")) {
      const Json* old = FindSame(before.at("cases"), now);
      if (old == nullptr) continue;
      now["median"]["over_before"] = now.at("median").at(rate).get<double>() /
                                     old->at("median").at(rate).get<double>();
    }
    return absl::OkStatus();
  } catch (const std::exception& error) {  // the JSON library's
    return absl::InvalidArgumentError(
        absl::StrCat("no result of a benchmark: ", error.what()));
  }
}

absl::StatusOr<std::string> FormatMarkdown(const Json& result) {
  try {
    return absl::StrCat(FormatHeading(result), FormatCases(result.at("cases")));
  } catch (const std::exception& error) {  // the JSON library's
    return absl::InvalidArgumentError(
        absl::StrCat("no result of a benchmark: ", error.what()));
  }
}

}  // namespace stepd::bench
