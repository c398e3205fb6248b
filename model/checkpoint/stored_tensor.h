// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// A tensor as it lies in a weights file: what the readers of weights files
// give, free of LibTorch.
//
// Thread safety: plain values.

#ifndef STEPD_MODEL_CHECKPOINT_STORED_TENSOR_H_
#define STEPD_MODEL_CHECKPOINT_STORED_TENSOR_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/checkpoint/mapped_file.h"
#include "model/policy_spec.h"

namespace stepd::checkpoint {

// A reader has checked that every element lies in `bytes`.
struct StoredTensor {
  std::string name;
  std::string dtype_name;      // in the file's own words
  std::optional<DType> dtype;  // nullopt: a type that stepd has no use for
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> strides;  // in elements, not negative
  // From the first element to the last one; not necessarily aligned.
  absl::string_view bytes;
  std::shared_ptr<const MappedFile> file;  // what `bytes` borrows from
};

// Elements of a tensor of this shape, or nullopt if a size is negative or the
// strides of the shape do not fit 64 bits.
std::optional<std::int64_t> NumElements(absl::Span<const std::int64_t> shape);

// Strides, in elements, of a contiguous tensor.
// REQUIRES: NumElements(shape) is a number.
std::vector<std::int64_t> RowMajorStrides(absl::Span<const std::int64_t> shape);

}  // namespace stepd::checkpoint

#endif  // STEPD_MODEL_CHECKPOINT_STORED_TENSOR_H_
