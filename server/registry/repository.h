// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// A directory of checkpoints, one per version: <directory>/<number>/. Other
// names are passed over, so a writer may copy under another name and rename. A
// checkpoint that is written in place is not touched until two looks at it
// found the same files, of the same sizes and times.
//
// Thread safety: none.

#ifndef STEPD_SERVER_REGISTRY_REPOSITORY_H_
#define STEPD_SERVER_REGISTRY_REPOSITORY_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace stepd {

class Repository {
 public:
  // Empty: there is none, and it has no versions.
  explicit Repository(std::string directory)
      : directory_(std::move(directory)) {}

  // The versions there are, in ascending order, whole or not.
  std::vector<std::uint64_t> List() const;

  // Looks at the directory. Versions that are new, or changed since the last
  // time this returned them, and that looked the same the last time: so each
  // is returned once, and again when it is written anew.
  std::vector<std::uint64_t> Look();

  std::string PathOf(std::uint64_t version) const;

 private:
  struct Seen {
    std::string files;        // names, sizes, times
    std::string files_given;  // when it was returned
  };

  std::string FilesOf(std::uint64_t version) const;

  const std::string directory_;
  std::map<std::uint64_t, Seen> seen_;
};

}  // namespace stepd

#endif  // STEPD_SERVER_REGISTRY_REPOSITORY_H_
