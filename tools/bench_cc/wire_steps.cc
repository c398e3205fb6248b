// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tools/bench_cc/wire_steps.h"

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace stepd::bench {

absl::StatusOr<std::vector<FieldSpec>> FieldsOf(
    const v1::DescribeResponse& response) {
  std::vector<FieldSpec> fields;
  for (const v1::Field& field : response.fields()) {
    FieldSpec spec;
    spec.name = field.name();
    if (field.dtype() == v1::DATA_TYPE_INT64) {
      spec.dtype = DType::kInt64;
    } else if (field.dtype() == v1::DATA_TYPE_FLOAT32) {
      spec.dtype = DType::kFloat32;
    } else {
      return absl::UnimplementedError(
          absl::StrCat(field.name(), ": dtype ",
                       v1::DataType_Name(field.dtype()), " is not known here"));
    }
    spec.shape.assign(field.shape().begin(), field.shape().end());
    if (field.has_min()) spec.min = field.min();
    if (field.has_max()) spec.max = field.max();
    spec.required = field.required();
    fields.push_back(spec);
  }
  return fields;
}

void StartInputs(const RandomSteps& steps, std::int64_t num_rows,
                 Tensors* inputs) {
  inputs->Clear();
  for (const FieldSpec& field : steps.fields()) {
    v1::Tensor* tensor = inputs->Add();
    tensor->set_name(field.name);
    tensor->set_dtype(field.dtype == DType::kInt64 ? v1::DATA_TYPE_INT64
                                                   : v1::DATA_TYPE_FLOAT32);
    const std::int64_t entries =
        field.is_ragged() ? RandomSteps::kRaggedEntries : 1;
    tensor->add_shape(num_rows * entries);
    for (std::size_t i = field.is_ragged() ? 1 : 0; i < field.shape.size();
         ++i) {
      tensor->add_shape(field.shape[i]);
    }
    if (field.is_ragged()) {
      tensor->mutable_lengths()->Resize(static_cast<int>(num_rows),
                                        static_cast<std::uint32_t>(entries));
    }
  }
}

void SetRows(const RandomSteps& steps, absl::Span<const std::int64_t> rows,
             Tensors* inputs) {
  for (int field = 0; field < inputs->size(); ++field) {
    std::string* data = inputs->Mutable(field)->mutable_data();
    data->clear();
    for (const std::int64_t row : rows) {
      const absl::string_view value = steps.Value(row, field);
      data->append(value.data(), value.size());
    }
  }
}

}  // namespace stepd::bench
