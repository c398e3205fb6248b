// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The tensors of a checkpoint's weights files as LibTorch tensors, each handed
// out once. Contiguous ones borrow the mapped file.
//
// Thread safety: none.

#ifndef STEPD_MODEL_CHECKPOINT_STORED_TENSOR_SOURCE_H_
#define STEPD_MODEL_CHECKPOINT_STORED_TENSOR_SOURCE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/checkpoint/read_options.h"
#include "model/checkpoint/stored_tensor.h"
#include "model/checkpoint/tensor_source.h"

namespace stepd::checkpoint {

// The tensor in its own dtype, contiguous. It borrows the mapped file where it
// can, and keeps it alive; then writing to it is a crash.
// REQUIRES: stored.dtype is given.
at::Tensor ToTensor(const StoredTensor& stored);

class StoredTensorSource final : public TensorSource {
 public:
  // `where` names the file, or the files, in errors.
  // Errors: kInvalidArgument  two tensors have the same name
  static absl::StatusOr<std::unique_ptr<StoredTensorSource>> Create(
      std::string where, std::vector<StoredTensor> tensors,
      NonFiniteWeights non_finite = NonFiniteWeights::kPass);

  absl::StatusOr<at::Tensor> Take(absl::string_view name,
                                  at::IntArrayRef shape) override;
  bool Has(absl::string_view name) const override;
  std::optional<std::vector<std::int64_t>> FindShape(
      absl::string_view name) const override;
  void Ignore(absl::string_view name) override;
  void IgnoreAll(absl::string_view prefix) override;
  std::int64_t num_elements_taken() const override {
    return num_elements_taken_;
  }
  absl::Status CheckAllTaken() const override;

 private:
  enum class State { kUnused, kTaken, kIgnored };
  struct Entry {
    StoredTensor tensor;
    State state = State::kUnused;
  };

  StoredTensorSource(std::string where, NonFiniteWeights non_finite)
      : where_(std::move(where)), non_finite_(non_finite) {}

  const std::string where_;
  const NonFiniteWeights non_finite_;
  std::map<std::string, Entry, std::less<>> entries_;
  std::int64_t num_elements_taken_ = 0;
};

struct StoredWeights {
  std::string where;  // the file, or the folder of the files
  std::vector<StoredTensor> tensors;
};

// The weights of a checkpoint directory: the shards of its index, else its
// model.safetensors, else its pytorch_model.bin. With `wanted` only these
// tensors, and shards without any are not opened.
// Errors: kNotFound         it has neither
//         kInvalidArgument  the file is malformed
absl::StatusOr<StoredWeights> ReadWeights(const std::string& directory,
                                          const TensorFilter& wanted = nullptr);

}  // namespace stepd::checkpoint

#endif  // STEPD_MODEL_CHECKPOINT_STORED_TENSOR_SOURCE_H_
