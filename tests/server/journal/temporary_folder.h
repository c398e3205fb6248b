// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#ifndef STEPD_TESTS_SERVER_JOURNAL_TEMPORARY_FOLDER_H_
#define STEPD_TESTS_SERVER_JOURNAL_TEMPORARY_FOLDER_H_

#include <stdlib.h>

#include <filesystem>
#include <string>

namespace stepd {

// A folder of a test's own, gone with it. Its path is short, so that sockets
// fit.
//
// Thread safety: none.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    char path[] = "/tmp/stepd-XXXXXX";
    path_ = mkdtemp(path);
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace stepd

#endif  // STEPD_TESTS_SERVER_JOURNAL_TEMPORARY_FOLDER_H_
