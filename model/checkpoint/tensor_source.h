// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Where a format takes its tensors from: by name, each exactly once, so that
// what is missing, misshapen or left over is found and named.

#ifndef STEPD_MODEL_CHECKPOINT_TENSOR_SOURCE_H_
#define STEPD_MODEL_CHECKPOINT_TENSOR_SOURCE_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace stepd::checkpoint {

// Whether a tensor of this name is wanted.
using TensorFilter = std::function<bool(absl::string_view name)>;

// Thread safety: none.
class TensorSource {
 public:
  virtual ~TensorSource() = default;

  // A floating tensor as stored (float32, bfloat16, float16; float64 becomes
  // float32), on the CPU, contiguous. It may map the file: it stays valid as
  // long as the tensor lives.
  // Errors: kInvalidArgument  no such tensor, another shape, not a floating
  //                           dtype, taken before; names tensor and file
  virtual absl::StatusOr<at::Tensor> Take(absl::string_view name,
                                          at::IntArrayRef shape) = 0;

  virtual bool Has(absl::string_view name) const = 0;

  // For sizes that only the tensors say; nullopt: no such tensor.
  virtual std::optional<std::vector<std::int64_t>> FindShape(
      absl::string_view name) const = 0;

  // Marks a tensor that is in the file but not needed as known.
  virtual void Ignore(absl::string_view name) = 0;
  // All tensors whose names begin with `prefix`.
  virtual void IgnoreAll(absl::string_view prefix) = 0;

  // Elements of all tensors taken so far: a policy's parameters.
  virtual std::int64_t num_elements_taken() const = 0;

  // Errors: kInvalidArgument  names the tensors that nobody took
  virtual absl::Status CheckAllTaken() const = 0;
};

}  // namespace stepd::checkpoint

#endif  // STEPD_MODEL_CHECKPOINT_TENSOR_SOURCE_H_
