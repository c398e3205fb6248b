// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/weight_reader.h"

#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace stepd::checkpoint {

WeightReader::WeightReader(TensorSource* source, absl::Status* error)
    : source_(source), error_(error) {}

WeightReader WeightReader::Under(absl::string_view name) const {
  WeightReader child = *this;
  absl::StrAppend(&child.prefix_, name, ".");
  return child;
}

std::int64_t WeightReader::Size(absl::string_view name,
                                std::size_t axis) const {
  const auto shape = source_->FindShape(absl::StrCat(prefix_, name));
  if (!shape.has_value() || axis >= shape->size()) return 1;
  return (*shape)[axis];
}

void WeightReader::Ignore(absl::string_view name) {
  source_->Ignore(absl::StrCat(prefix_, name));
}

void WeightReader::IgnoreUnder(absl::string_view name) {
  source_->IgnoreAll(absl::StrCat(prefix_, name, "."));
}

at::Tensor WeightReader::Take(absl::string_view name, at::IntArrayRef shape) {
  if (!ok()) return {};
  absl::StatusOr<at::Tensor> tensor =
      source_->Take(absl::StrCat(prefix_, name), shape);
  if (tensor.ok()) return *std::move(tensor);
  error_->Update(tensor.status());
  return {};
}

LinearWeights WeightReader::Linear(absl::string_view name, std::int64_t out,
                                   std::int64_t in, Bias bias) {
  LinearWeights linear;
  linear.weight = Take(absl::StrCat(name, ".weight"), {out, in});
  if (bias == Bias::kPresent) {
    linear.bias = Take(absl::StrCat(name, ".bias"), {out});
  }
  return linear;
}

NormConfig WeightReader::Norm(absl::string_view name, std::int64_t dim,
                              double eps) {
  NormConfig norm;
  norm.weight = Take(absl::StrCat(name, ".weight"), {dim});
  norm.eps = static_cast<float>(eps);
  return norm;
}

}  // namespace stepd::checkpoint
