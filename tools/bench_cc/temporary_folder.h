// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// A folder that goes with the object. Its path is short, so that sockets fit.
//
// Thread safety: none.

#ifndef STEPD_TOOLS_BENCH_CC_TEMPORARY_FOLDER_H_
#define STEPD_TOOLS_BENCH_CC_TEMPORARY_FOLDER_H_

#include <stdlib.h>

#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace stepd::bench {

class TemporaryFolder {
 public:
  // Errors: kUnavailable  it cannot be made
  static absl::StatusOr<std::unique_ptr<TemporaryFolder>> Create() {
    std::string path =
        (std::filesystem::temp_directory_path() / "stepd-XXXXXX").string();
    if (mkdtemp(&path[0]) == nullptr) {
      return absl::UnavailableError(absl::StrCat("cannot make ", path));
    }
    return std::make_unique<TemporaryFolder>(std::move(path));
  }
  explicit TemporaryFolder(std::string path) : path_(std::move(path)) {}
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }

 private:
  const std::string path_;
};

}  // namespace stepd::bench

#endif  // STEPD_TOOLS_BENCH_CC_TEMPORARY_FOLDER_H_
