// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/service/field_columns.h"

#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/stepd/v1/policy_service.pb.h"
#include "server/common/error.h"
#include "server/service/invalid.h"

namespace stepd {

absl::Status FieldColumns::Read(const Tensors& tensors) {
  for (const v1::Tensor& tensor : tensors) {
    const absl::Status status = ReadTensor(tensor);
    if (!status.ok()) return status;
  }
  for (std::size_t i = 0; i < fields_.size(); ++i) {
    if (fields_[i].required && !columns_[i]) {
      return Invalid(reason::kFieldMissing, fields_[i].name, "nothing",
                     "a tensor of this name");
    }
  }
  return absl::OkStatus();
}

absl::Status FieldColumns::ReadTensor(const v1::Tensor& tensor) {
  const int index = FindField(fields_, tensor.name());
  if (index < 0) {
    return Invalid(reason::kFieldUnknown, Excerpt(tensor.name()), "this name",
                   fields_.empty() ? "none" : OneOf(fields_));
  }
  const auto i = static_cast<std::size_t>(index);
  if (columns_[i]) {
    return Invalid(reason::kFieldShape, tensor.name(), "two tensors", "one");
  }
  absl::StatusOr<TensorColumn> column =
      TensorColumn::Create(fields_[i], tensor);
  if (!column.ok()) return column.status();
  if (num_rows_ >= 0 && column->num_rows() != num_rows_) {
    return Invalid(reason::kFieldShape, tensor.name(),
                   absl::StrCat(column->num_rows(), " rows"),
                   absl::StrCat(num_rows_, " rows, as before"));
  }
  num_rows_ = column->num_rows();
  columns_[i] = *std::move(column);
  return absl::OkStatus();
}

absl::Status FieldColumns::CheckLengths(std::int64_t row) const {
  const auto length_of = [&](std::size_t field) {
    return values_[field].count / fields_[field].num_elements();
  };
  for (std::size_t i = 0; i < fields_.size(); ++i) {
    if (fields_[i].same_length_as.empty()) continue;
    const auto other =
        static_cast<std::size_t>(FindField(fields_, fields_[i].same_length_as));
    if (length_of(i) == length_of(other)) continue;
    return Invalid(reason::kFieldShape, fields_[i].name,
                   absl::StrCat(length_of(i), " entries in row ", row),
                   absl::StrCat(length_of(other), ", as many as \"",
                                fields_[other].name, "\" has"));
  }
  return absl::OkStatus();
}

absl::StatusOr<absl::Span<const FieldValue>> FieldColumns::Row(
    std::int64_t row) {
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    values_[i] = FieldValue{};
    if (!columns_[i]) continue;
    const absl::Status status = columns_[i]->CheckRange(row, non_finite_);
    if (!status.ok()) return status;
    values_[i] = columns_[i]->Value(row);
  }
  if (absl::Status status = CheckLengths(row); !status.ok()) return status;
  return absl::MakeConstSpan(values_);
}

}  // namespace stepd
