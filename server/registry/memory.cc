// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/registry/memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/common/error.h"

namespace stepd {
namespace {

constexpr std::int64_t kNoLimit = std::numeric_limits<std::int64_t>::max();

std::vector<std::string> LinesOf(const std::string& path) {
  std::vector<std::string> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

// The number after `key` in a file of "key number" lines; nullopt: no such
// line.
std::optional<std::int64_t> FindNumber(const std::string& path,
                                       absl::string_view key) {
  for (const std::string& line : LinesOf(path)) {
    const std::vector<absl::string_view> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    std::int64_t number = 0;
    if (words.size() >= 2 && words[0] == key &&
        absl::SimpleAtoi(words[1], &number)) {
      return number;
    }
  }
  return std::nullopt;
}

// The number that a file consists of; nullopt: it is not there, or "max".
std::optional<std::int64_t> ReadNumber(const std::string& path) {
  const std::vector<std::string> lines = LinesOf(path);
  std::int64_t number = 0;
  if (lines.empty() || !absl::SimpleAtoi(lines[0], &number)) {
    return std::nullopt;
  }
  return number;
}

// How one version of control groups calls its files.
struct GroupFiles {
  const char* folder;
  const char* limit;
  const char* usage;
  const char* reclaimable;  // in memory.stat
};
constexpr GroupFiles kVersion2 = {"/sys/fs/cgroup", "memory.max",
                                  "memory.current", "inactive_file"};
constexpr GroupFiles kVersion1 = {
    "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
    "total_inactive_file"};

// What the group at `path` and those around it leave.
std::int64_t LeftInGroups(const std::string& root, const GroupFiles& files,
                          std::string path) {
  std::int64_t left = kNoLimit;
  while (true) {
    const std::string folder = absl::StrCat(root, files.folder, path, "/");
    const auto limit = ReadNumber(folder + files.limit);
    const auto usage = ReadNumber(folder + files.usage);
    if (limit.has_value() && usage.has_value()) {
      const std::int64_t reclaimable =
          FindNumber(folder + "memory.stat", files.reclaimable).value_or(0);
      left = std::min(left, *limit - *usage + reclaimable);
    }
    if (path.empty()) return left;
    path.resize(path.rfind('/'));
  }
}

// "hierarchy:controllers:path" of the group that limits memory.
std::int64_t LeftInGroups(const std::string& root) {
  std::int64_t left = kNoLimit;
  for (const std::string& line :
       LinesOf(absl::StrCat(root, "/proc/self/cgroup"))) {
    const std::vector<std::string> parts =
        absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3 || !absl::StartsWith(parts[2], "/")) continue;
    const std::string path = parts[2] == "/" ? "" : parts[2];
    const std::vector<absl::string_view> controllers =
        absl::StrSplit(parts[1], ',');
    if (parts[1].empty()) {
      left = std::min(left, LeftInGroups(root, kVersion2, path));
    } else if (std::find(controllers.begin(), controllers.end(), "memory") !=
               controllers.end()) {
      left = std::min(left, LeftInGroups(root, kVersion1, path));
    }
  }
  return left;
}

}  // namespace

std::int64_t AvailableMemory(const std::string& root) {
  const auto kilobytes =
      FindNumber(absl::StrCat(root, "/proc/meminfo"), "MemAvailable:");
  const std::int64_t machine =
      kilobytes.has_value() ? *kilobytes * 1024 : kNoLimit;
  return std::max<std::int64_t>(0, std::min(machine, LeftInGroups(root)));
}

absl::Status CheckMemory(absl::string_view what, std::int64_t num_bytes,
                         std::int64_t available) {
  if (num_bytes <= available) return absl::OkStatus();
  return Error(
      absl::StatusCode::kResourceExhausted, reason::kWeightsMemory,
      absl::StrCat(what, " needs ", num_bytes, " bytes of memory; ", available,
                   " are available"),
      {{"need", absl::StrCat(num_bytes)}, {"have", absl::StrCat(available)}});
}

}  // namespace stepd
