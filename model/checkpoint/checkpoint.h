// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// A checkpoint that is open: its config, and its tensors where they lie in
// mapped files. It can be read any number of times, and it is what tensors
// that come later are laid over. Free of LibTorch.
//
// Thread safety: immutable.

#ifndef STEPD_MODEL_CHECKPOINT_CHECKPOINT_H_
#define STEPD_MODEL_CHECKPOINT_CHECKPOINT_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "model/checkpoint/mapped_file.h"
#include "model/checkpoint/read_options.h"

namespace stepd {
struct PolicyDescription;
}

namespace stepd::checkpoint {

// What a file of tensors that are laid over a checkpoint must hold.
enum class TensorSet {
  kSome,  // any of the checkpoint's
  kAll,   // every one of them
};

class Checkpoint {
 public:
  // Errors: kNotFound         no config.json there, or no weights
  //         kInvalidArgument  an unknown format; an option that means nothing
  //                           to it; a weights file is malformed; names the
  //                           file and the key or tensor
  static absl::StatusOr<std::shared_ptr<const Checkpoint>> Open(
      const std::string& directory, const ReadOptions& options = {});

  ~Checkpoint();
  Checkpoint(const Checkpoint&) = delete;
  Checkpoint& operator=(const Checkpoint&) = delete;

  // The same checkpoint with the tensors of a safetensors file in the places of
  // its own. They may be of another floating dtype. Both checkpoints stay
  // mapped as far as their tensors are used.
  // Errors: kInvalidArgument  the file is malformed; a tensor that is not in
  //                           the checkpoint, or has another shape or no
  //                           floating dtype; one that is missing of kAll;
  //                           names the file and the tensor
  absl::StatusOr<std::shared_ptr<const Checkpoint>> WithTensors(
      const std::shared_ptr<const MappedFile>& file, TensorSet set) const;

  // Reads it completely and strictly, or not at all.
  // Errors: kInvalidArgument  anything in the checkpoint that its format does
  //                           not have; names the file and the key or tensor
  absl::StatusOr<PolicyDescription> Read() const;

 private:
  struct Parts;

  explicit Checkpoint(std::unique_ptr<const Parts> parts);

  const std::unique_ptr<const Parts> parts_;
};

}  // namespace stepd::checkpoint

#endif  // STEPD_MODEL_CHECKPOINT_CHECKPOINT_H_
