// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// A file's bytes, mapped read-only for as long as somebody holds them.
//
// A checkpoint that is in use must be replaced by renaming a new file over it,
// never rewritten in place: the mapping shows what the file holds.
//
// Thread safety: immutable.

#ifndef STEPD_MODEL_CHECKPOINT_MAPPED_FILE_H_
#define STEPD_MODEL_CHECKPOINT_MAPPED_FILE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace stepd::checkpoint {

class MappedFile {
 public:
  // Errors: kNotFound         no such file
  //         kInvalidArgument  it cannot be read, or is no regular file
  static absl::StatusOr<std::shared_ptr<const MappedFile>> Open(
      const std::string& path);
  // The same of an open file, which may be closed afterwards; `name` is how
  // errors call it.
  static absl::StatusOr<std::shared_ptr<const MappedFile>> OfDescriptor(
      int fd, const std::string& name);

  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  // Or its name.
  const std::string& path() const { return path_; }
  absl::string_view bytes() const { return bytes_; }

 private:
  MappedFile(std::string path, absl::string_view bytes);

  const std::string path_;
  const absl::string_view bytes_;
};

}  // namespace stepd::checkpoint

#endif  // STEPD_MODEL_CHECKPOINT_MAPPED_FILE_H_
