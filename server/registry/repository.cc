// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/registry/repository.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace stepd {
namespace {

namespace fs = std::filesystem;

// 0: not a version ("07" and "7" would be one version in two places).
std::uint64_t ParseVersion(const std::string& name) {
  std::uint64_t version = 0;
  if (!absl::SimpleAtoi(name, &version)) return 0;
  return absl::StrCat(version) == name ? version : 0;
}

}  // namespace

// Whatever vanishes meanwhile is as if it had not been there.
std::vector<std::uint64_t> Repository::List() const {
  std::vector<std::uint64_t> versions;
  if (directory_.empty()) return versions;
  std::error_code error;
  for (fs::directory_iterator entry(directory_, error), end;
       !error && entry != end; entry.increment(error)) {
    const std::uint64_t version =
        ParseVersion(entry->path().filename().string());
    std::error_code unreadable;
    if (version > 0 && entry->is_directory(unreadable)) {
      versions.push_back(version);
    }
  }
  std::sort(versions.begin(), versions.end());
  return versions;
}

std::vector<std::uint64_t> Repository::Look() {
  std::vector<std::uint64_t> settled;
  for (const std::uint64_t version : List()) {
    Seen& seen = seen_[version];
    std::string files = FilesOf(version);
    if (!files.empty() && files == seen.files && files != seen.files_given) {
      seen.files_given = files;
      settled.push_back(version);
    }
    seen.files = std::move(files);
  }
  return settled;
}

std::string Repository::PathOf(std::uint64_t version) const {
  return absl::StrCat(directory_, "/", version);
}

std::string Repository::FilesOf(std::uint64_t version) const {
  std::vector<std::string> files;
  std::error_code error;
  for (fs::recursive_directory_iterator entry(PathOf(version), error), end;
       !error && entry != end; entry.increment(error)) {
    std::error_code gone;
    if (!entry->is_regular_file(gone)) continue;
    const auto size = entry->file_size(gone);
    const auto time = entry->last_write_time(gone).time_since_epoch().count();
    if (gone) continue;
    files.push_back(absl::StrCat(entry->path().string(), " ", size, " ", time));
  }
  std::sort(files.begin(), files.end());
  std::string text;
  for (const std::string& file : files) absl::StrAppend(&text, file, "\n");
  return text;
}

}  // namespace stepd
