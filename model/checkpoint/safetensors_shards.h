// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Weights that are spread over several safetensors files by an index:
//   model.safetensors.index.json: {"weight_map": {"<tensor>": "<file>"}, ...}
// Source: the sharded layout of Hugging Face; Puzzletron's subblock files.
//
// Thread safety: reentrant.

#ifndef STEPD_MODEL_CHECKPOINT_SAFETENSORS_SHARDS_H_
#define STEPD_MODEL_CHECKPOINT_SAFETENSORS_SHARDS_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/checkpoint/stored_tensor.h"

namespace stepd::checkpoint {

// All tensors of the index in `directory`; with `wanted`, those of the shards
// that have at least one that is wanted.
// Errors: kNotFound         no index there
//         kInvalidArgument  the index is malformed, names a file outside the
//                           directory or a missing one; a tensor is not in the
//                           file it is said to be in, or is in a file without
//                           being in the index; names file and tensor
absl::StatusOr<std::vector<StoredTensor>> ReadSafetensorsShards(
    const std::string& directory,
    const std::function<bool(absl::string_view tensor)>& wanted = nullptr);

}  // namespace stepd::checkpoint

#endif  // STEPD_MODEL_CHECKPOINT_SAFETENSORS_SHARDS_H_
