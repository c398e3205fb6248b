// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tools/bench_cc/server_counters.h"

#include <httplib.h>
#include <unistd.h>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace stepd::bench {
namespace {

// As the engine names its threads.
constexpr char kExecutorThread[] = "stepd-exec-";

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

double TicksToSeconds(double ticks) {
  static const double ticks_per_second =
      static_cast<double>(sysconf(_SC_CLK_TCK));
  return ticks / ticks_per_second;
}

// Sum of some fields of a line, counted from 0.
double SumFields(absl::string_view line, std::size_t first, std::size_t last) {
  const std::vector<absl::string_view> fields =
      absl::StrSplit(line, ' ', absl::SkipEmpty());
  double sum = 0.0;
  for (std::size_t i = first; i <= last && i < fields.size(); ++i) {
    double value = 0.0;
    if (absl::SimpleAtod(fields[i], &value)) sum += value;
  }
  return sum;
}

// utime + stime of a stat file of proc(5); the thread's or process's name,
// which may hold spaces, comes before the last parenthesis.
double StatSeconds(absl::string_view stat) {
  const std::size_t name_end = stat.rfind(')');
  if (name_end == absl::string_view::npos) return 0.0;
  return TicksToSeconds(SumFields(stat.substr(name_end + 1), 11, 12));
}

// All but idle and waiting for devices.
double MachineSeconds() {
  const std::string stat = ReadFile("/proc/stat");
  const absl::string_view line =
      absl::string_view(stat).substr(0, stat.find('\n'));
  return TicksToSeconds(SumFields(line, 1, 3) + SumFields(line, 6, 7));
}

}  // namespace

Samples ParseMetrics(absl::string_view text) {
  Samples samples;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    const std::size_t space = line.rfind(' ');
    double value = 0.0;
    if (absl::StartsWith(line, "#") || space == absl::string_view::npos ||
        !absl::SimpleAtod(line.substr(space + 1), &value)) {
      continue;
    }
    samples[std::string(line.substr(0, space))] = value;
  }
  return samples;
}

absl::StatusOr<Samples> ReadMetrics(const std::string& address) {
  httplib::Client client("http://" + address);
  const httplib::Result page = client.Get("/metrics");
  if (!page || page->status != 200) {
    return absl::UnavailableError(
        absl::StrCat("no metrics at http://", address, "/metrics"));
  }
  return ParseMetrics(page->body);
}

Samples Growth(const Samples& before, const Samples& after) {
  Samples growth;
  for (const auto& [name, value] : after) {
    growth[name] = value - Get(before, name);
  }
  return growth;
}

double Get(const Samples& samples, const std::string& name) {
  const auto sample = samples.find(name);
  return sample == samples.end() ? 0.0 : sample->second;
}

absl::StatusOr<double> ReadResidentBytes(pid_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/statm"));
  double size = 0.0;
  double resident = 0.0;
  if (file >> size >> resident) {
    return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
  }
  return absl::UnavailableError(absl::StrCat("no process ", pid));
}

absl::StatusOr<CpuTime> ReadCpuTime(pid_t pid) {
  const std::string process = absl::StrCat("/proc/", pid);
  CpuTime time;
  const std::string stat = ReadFile(process + "/stat");
  if (stat.empty()) {
    return absl::UnavailableError(absl::StrCat("no process ", pid));
  }
  time.process = StatSeconds(stat);
  time.machine = MachineSeconds();
  std::error_code error;
  for (const auto& thread :
       std::filesystem::directory_iterator(process + "/task", error)) {
    const std::string path = thread.path().string();
    if (absl::StartsWith(ReadFile(path + "/comm"), kExecutorThread)) {
      time.executors += StatSeconds(ReadFile(path + "/stat"));
    }
  }
  return time;
}

}  // namespace stepd::bench
