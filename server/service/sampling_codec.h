// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// How the actions of a call are drawn, from the wire: one Sampling for all
// rows, columns where rows differ, and a mask of actions.
//
// A fault of the whole call refuses the call; a fault in the values of one row
// is said when that row is read.
//
// Thread safety: const access from any thread.

#ifndef STEPD_SERVER_SERVICE_SAMPLING_CODEC_H_
#define STEPD_SERVER_SERVICE_SAMPLING_CODEC_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/policy_spec.h"
#include "server/engine/step_task.h"
#include "server/service/tensor_column.h"

namespace stepd {

namespace v1 {
class Sampling;
class SamplingColumns;
class Tensor;
}  // namespace v1

class SamplingRows {
 public:
  // Of one call; what is nullptr was not given.
  struct Wire {
    const v1::Sampling* sampling = nullptr;
    const v1::SamplingColumns* columns = nullptr;
    const v1::Tensor* action_mask = nullptr;
  };

  // `spec` and what `wire` points to must outlive the rows.
  // Errors: kInvalidArgument  SAMPLING, FIELD_TYPE, FIELD_SHAPE
  static absl::StatusOr<SamplingRows> Create(const PolicySpec& spec,
                                             const Wire& wire,
                                             std::int64_t num_rows);

  // Whether rows differ in more than their masks.
  bool varies() const { return columns_ != nullptr; }

  // Sets the sampling of `task` to the row's and appends the row's mask, if the
  // call has one, to its action_mask.
  // Errors: kInvalidArgument  SAMPLING, naming the row
  absl::Status AppendTo(std::int64_t row, StepTask* task) const;

 private:
  explicit SamplingRows(const PolicySpec& spec) : spec_(spec) {}

  absl::Status SetColumns(const v1::SamplingColumns& columns,
                          std::int64_t num_rows);
  absl::Status SetMask(const v1::Tensor& action_mask, std::int64_t num_rows);
  absl::StatusOr<SamplingParams> Params(std::int64_t row) const;
  absl::Status AppendMask(std::int64_t row, StepTask* task) const;

  const PolicySpec& spec_;
  const v1::Sampling* sampling_ = nullptr;  // never nullptr once created
  const v1::SamplingColumns* columns_ = nullptr;
  std::unique_ptr<const FieldSpec> mask_field_;  // the column borrows it
  std::optional<TensorColumn> mask_;
};

}  // namespace stepd

#endif  // STEPD_SERVER_SERVICE_SAMPLING_CODEC_H_
