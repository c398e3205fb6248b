// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What a version of the weights is loaded from. Only main.cc implements it:
// server/ builds without LibTorch.

#ifndef STEPD_SERVER_REGISTRY_VERSION_SOURCE_H_
#define STEPD_SERVER_REGISTRY_VERSION_SOURCE_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "model/policy.h"

namespace stepd {

// A checkpoint, as it was when it was opened.
//
// Thread safety: immutable.
class VersionSource {
 public:
  virtual ~VersionSource() = default;

  // Makes it resident. Blocks for as long as that takes.
  // Errors: those of LoadPolicy() (model/loader.h)
  virtual absl::StatusOr<std::shared_ptr<const Policy>> Load() const = 0;

  // The same with the tensors of a safetensors file in the places of its own:
  // all of them, or some if `is_partial`. The file is mapped, `fd` may be
  // closed; errors call it `name`.
  // Errors: kInvalidArgument  the file is malformed or does not fit; names the
  //                           tensor
  virtual absl::StatusOr<std::shared_ptr<const VersionSource>> WithTensors(
      int fd, const std::string& name, bool is_partial) const = 0;
};

// Opens a checkpoint directory.
// Errors: kNotFound         no checkpoint there
//         kInvalidArgument  a malformed one; names file and tensor or key
using SourceOpener =
    std::function<absl::StatusOr<std::shared_ptr<const VersionSource>>(
        const std::string& directory)>;

}  // namespace stepd

#endif  // STEPD_SERVER_REGISTRY_VERSION_SOURCE_H_
