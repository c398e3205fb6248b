// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Strict reader of safetensors files:
//   uint64 size of the header, header (a JSON object), tensor bytes
//   header: {"<name>": {"dtype", "shape", "data_offsets": [begin, end]}, ...,
//            "__metadata__": {string: string}}
// Source: the format description of the safetensors project.
//
// Thread safety: reentrant.

#ifndef STEPD_MODEL_CHECKPOINT_SAFETENSORS_H_
#define STEPD_MODEL_CHECKPOINT_SAFETENSORS_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/checkpoint/mapped_file.h"
#include "model/checkpoint/stored_tensor.h"

namespace stepd::checkpoint {

// Maps the file and lists its tensors, in the order of their bytes. Tensors of
// dtypes that stepd has no use for (complex, ...) are listed without a dtype.
//
// Errors: kNotFound         no such file
//         kInvalidArgument  anything in the header is not as it must be, or
//                           the tensors leave a hole, overlap or do not end
//                           where the file does; names file and tensor
absl::StatusOr<std::vector<StoredTensor>> ReadSafetensors(
    const std::string& path);
// The same of a file that is mapped already.
absl::StatusOr<std::vector<StoredTensor>> ReadSafetensors(
    const std::shared_ptr<const MappedFile>& file);

}  // namespace stepd::checkpoint

#endif  // STEPD_MODEL_CHECKPOINT_SAFETENSORS_H_
