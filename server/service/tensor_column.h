// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// One named tensor of a request as a column: a checked value per row, in the
// dtype that the policy reads.
//
// Thread safety: const access from any thread. A column borrows from the
// message it was made of.

#ifndef STEPD_SERVER_SERVICE_TENSOR_COLUMN_H_
#define STEPD_SERVER_SERVICE_TENSOR_COLUMN_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/policy_spec.h"
#include "model/step.h"

namespace stepd {

namespace v1 {
class Tensor;
}

// What becomes of NaN and infinities in real inputs.
enum class NonFinite { kRefuse, kPass };

// The values of one field, one per row.
class TensorColumn {
 public:
  // Checks everything about `tensor` but the values: dtype, shape, byte count,
  // lengths. `field` and `tensor` must outlive the column.
  // Errors: kInvalidArgument  FIELD_TYPE, FIELD_SHAPE
  static absl::StatusOr<TensorColumn> Create(const FieldSpec& field,
                                             const v1::Tensor& tensor);

  // Moves only: a copy would borrow the original's converted values.
  TensorColumn(TensorColumn&&) = default;
  TensorColumn& operator=(TensorColumn&&) = default;
  TensorColumn(const TensorColumn&) = delete;
  TensorColumn& operator=(const TensorColumn&) = delete;
  ~TensorColumn() = default;

  std::int64_t num_rows() const { return num_rows_; }

  // REQUIRES: 0 <= row < num_rows().
  FieldValue Value(std::int64_t row) const;

  // Checks the values of one row.
  // Errors: kInvalidArgument  FIELD_RANGE, naming the row
  absl::Status CheckRange(std::int64_t row, NonFinite non_finite) const;

 private:
  explicit TensorColumn(const FieldSpec& field) : field_(&field) {}

  absl::Status SetLengths(const v1::Tensor& tensor);
  void SetValues(const v1::Tensor& tensor);

  const FieldSpec* field_;
  std::int64_t num_rows_ = 0;
  // Of the request itself, or `converted_` where dtypes differ.
  const char* data_ = nullptr;
  std::vector<char> converted_;
  // Row r has the entries [begins_[r], begins_[r + 1]); empty: one entry each.
  std::vector<std::uint64_t> begins_;
};

}  // namespace stepd

#endif  // STEPD_SERVER_SERVICE_TENSOR_COLUMN_H_
