// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Takes the weights of modules out of a TensorSource. As with ConfigReader the
// first problem is kept; after it every weight is an undefined tensor.
//
// Thread safety: none.

#ifndef STEPD_MODEL_CHECKPOINT_WEIGHT_READER_H_
#define STEPD_MODEL_CHECKPOINT_WEIGHT_READER_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "model/checkpoint/tensor_source.h"
#include "model/decoder/decoder_config.h"
#include "model/linear_weights.h"

namespace stepd::checkpoint {

enum class Bias { kAbsent, kPresent };

class WeightReader {
 public:
  // `source` and `error` must outlive the reader and its children, which share
  // `error`.
  WeightReader(TensorSource* source, absl::Status* error);

  bool ok() const { return error_->ok(); }

  // Reads the weights whose names begin with "<name>.".
  WeightReader Under(absl::string_view name) const;

  // A size of a tensor, for sizes that only the tensors say; 1 if
  // there is no such tensor: taking it then fails with its name.
  std::int64_t FirstSize(absl::string_view name) const { return Size(name, 0); }
  std::int64_t SecondSize(absl::string_view name) const {
    return Size(name, 1);
  }
  void Ignore(absl::string_view name);
  // All weights whose names begin with "<name>.".
  void IgnoreUnder(absl::string_view name);

  at::Tensor Take(absl::string_view name, at::IntArrayRef shape);
  // `name`.weight [out, in] and `name`.bias [out].
  LinearWeights Linear(absl::string_view name, std::int64_t out,
                       std::int64_t in, Bias bias);
  // `name`.weight [dim].
  NormConfig Norm(absl::string_view name, std::int64_t dim, double eps);

 private:
  std::int64_t Size(absl::string_view name, std::size_t axis) const;

  TensorSource* source_;
  absl::Status* error_;
  std::string prefix_;
};

}  // namespace stepd::checkpoint

#endif  // STEPD_MODEL_CHECKPOINT_WEIGHT_READER_H_
