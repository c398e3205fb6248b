// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Strict reader of the state dicts that torch.save writes (pytorch_model.bin):
// a ZIP file with `<root>/data.pkl` and the storages `<root>/data/<key>`.
// Nothing in the file is executed.
//
// Thread safety: reentrant.

#ifndef STEPD_MODEL_CHECKPOINT_TORCH_FILE_H_
#define STEPD_MODEL_CHECKPOINT_TORCH_FILE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/checkpoint/stored_tensor.h"

namespace stepd::checkpoint {

// Maps the file and lists its tensors.
//
// Errors: kNotFound         no such file
//         kInvalidArgument  anything is not as it must be (zip_archive.h,
//                           state_dict_pickle.h), or a tensor reaches beyond
//                           its storage; names file and tensor
absl::StatusOr<std::vector<StoredTensor>> ReadTorchFile(
    const std::string& path);

}  // namespace stepd::checkpoint

#endif  // STEPD_MODEL_CHECKPOINT_TORCH_FILE_H_
