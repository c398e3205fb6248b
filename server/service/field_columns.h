// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The tensors of one call as columns, by index of the fields that they belong
// to.
//
// Thread safety: none. Columns borrow from the request.

#ifndef STEPD_SERVER_SERVICE_FIELD_COLUMNS_H_
#define STEPD_SERVER_SERVICE_FIELD_COLUMNS_H_

#include <google/protobuf/repeated_field.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/policy_spec.h"
#include "model/step.h"
#include "server/service/tensor_column.h"

namespace stepd {

namespace v1 {
class Tensor;
}

using Tensors = google::protobuf::RepeatedPtrField<v1::Tensor>;

class FieldColumns {
 public:
  // `fields` must outlive the columns.
  FieldColumns(const std::vector<FieldSpec>& fields, NonFinite non_finite)
      : fields_(fields), non_finite_(non_finite), values_(fields.size()) {
    columns_.resize(fields.size());
  }

  // Errors: kInvalidArgument  FIELD_UNKNOWN, _MISSING, _TYPE, _SHAPE
  absl::Status Read(const Tensors& tensors);

  // Of all tensors; -1 when there are none.
  std::int64_t num_rows() const { return num_rows_; }

  // The values of one row; valid until the next call.
  // Errors: kInvalidArgument  FIELD_RANGE, FIELD_SHAPE
  absl::StatusOr<absl::Span<const FieldValue>> Row(std::int64_t row);

 private:
  absl::Status ReadTensor(const v1::Tensor& tensor);
  // The fields of values_ that must be as long as another one are.
  absl::Status CheckLengths(std::int64_t row) const;

  const std::vector<FieldSpec>& fields_;
  const NonFinite non_finite_;
  std::vector<std::optional<TensorColumn>> columns_;
  std::vector<FieldValue> values_;
  std::int64_t num_rows_ = -1;
};

}  // namespace stepd

#endif  // STEPD_SERVER_SERVICE_FIELD_COLUMNS_H_
