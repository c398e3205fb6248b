// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/service/sampling_codec.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "proto/stepd/v1/policy_service.pb.h"
#include "server/common/error.h"
#include "server/service/invalid.h"

namespace stepd {
namespace {

// A policy without actions draws none: nothing may be asked about it.
absl::Status CheckNoSampling(const v1::Sampling& sampling) {
  const auto refuse = [](absl::string_view field, const std::string& got) {
    return Invalid(reason::kSampling, field, got,
                   "nothing: the policy has no actions");
  };
  if (sampling.temperature() != 0.0F) {
    return refuse("sampling.temperature", absl::StrCat(sampling.temperature()));
  }
  if (sampling.has_num_actions()) {
    return refuse("sampling.num_actions", absl::StrCat(sampling.num_actions()));
  }
  if (sampling.seed() != 0) {
    return refuse("sampling.seed", absl::StrCat(sampling.seed()));
  }
  if (sampling.top_k() != 0) {
    return refuse("sampling.top_k", absl::StrCat(sampling.top_k()));
  }
  if (sampling.epsilon() != 0.0F) {
    return refuse("sampling.epsilon", absl::StrCat(sampling.epsilon()));
  }
  return absl::OkStatus();
}

absl::StatusOr<SamplingParams> DecodeSampling(const PolicySpec& spec,
                                              const v1::Sampling& sampling) {
  SamplingParams params;
  params.temperature = sampling.temperature();
  params.epsilon = sampling.epsilon();
  params.seed = sampling.seed();
  if (!std::isfinite(params.temperature) || params.temperature < 0) {
    return Invalid(reason::kSampling, "sampling.temperature",
                   absl::StrCat(params.temperature), "a finite number >= 0");
  }
  if (!(params.epsilon >= 0.0F && params.epsilon <= 1.0F)) {
    return Invalid(reason::kSampling, "sampling.epsilon",
                   absl::StrCat(params.epsilon), "0 to 1");
  }
  if (sampling.top_k() < 0) {
    return Invalid(reason::kSampling, "sampling.top_k",
                   absl::StrCat(sampling.top_k()), "0 (all) or more");
  }
  if (sampling.top_k() > 0) params.top_k = sampling.top_k();
  if (sampling.has_num_actions()) {
    const std::int64_t count = sampling.num_actions();
    if (count < 1 || count > spec.num_actions) {
      return Invalid(reason::kSampling, "sampling.num_actions",
                     absl::StrCat(count),
                     absl::StrCat("1 to ", spec.num_actions));
    }
    params.num_actions = count;
  }
  return params;
}

// The call's Sampling as row `row` has it.
v1::Sampling MergeRow(const v1::Sampling& sampling,
                      const v1::SamplingColumns& columns, int row) {
  v1::Sampling merged = sampling;
  if (columns.temperatures_size() > 0) {
    merged.set_temperature(columns.temperatures(row));
  }
  if (columns.num_actions_size() > 0) {
    merged.clear_num_actions();
    if (columns.num_actions(row) != 0) {
      merged.set_num_actions(columns.num_actions(row));
    }
  }
  if (columns.seeds_size() > 0) merged.set_seed(columns.seeds(row));
  if (columns.top_k_size() > 0) merged.set_top_k(columns.top_k(row));
  if (columns.epsilons_size() > 0) merged.set_epsilon(columns.epsilons(row));
  return merged;
}

absl::Status InRow(const absl::Status& status, std::int64_t row) {
  ErrorMetadata metadata = MetadataOf(status);
  metadata.emplace_back("row", absl::StrCat(row));
  return Error(status.code(), ReasonOf(status),
               absl::StrCat(status.message(), " (row ", row, ")"), metadata);
}

}  // namespace

absl::StatusOr<SamplingRows> SamplingRows::Create(const PolicySpec& spec,
                                                  const Wire& wire,
                                                  std::int64_t num_rows) {
  SamplingRows rows(spec);
  rows.sampling_ = wire.sampling != nullptr ? wire.sampling
                                            : &v1::Sampling::default_instance();
  absl::Status status;
  if (wire.columns != nullptr) {
    status = rows.SetColumns(*wire.columns, num_rows);
  }
  if (status.ok() && wire.action_mask != nullptr) {
    status = rows.SetMask(*wire.action_mask, num_rows);
  }
  if (status.ok() && spec.num_actions == 0) {
    status = CheckNoSampling(*rows.sampling_);
  }
  // What is wrong for every row is wrong with the call.
  if (status.ok() && !rows.varies()) status = rows.Params(0).status();
  if (!status.ok()) return status;
  return rows;
}

absl::Status SamplingRows::SetColumns(const v1::SamplingColumns& columns,
                                      std::int64_t num_rows) {
  if (spec_.num_actions == 0) {
    return Invalid(reason::kSampling, "sampling_columns", "columns",
                   "nothing: the policy has no actions");
  }
  for (const int size :
       {columns.temperatures_size(), columns.num_actions_size(),
        columns.seeds_size(), columns.top_k_size(), columns.epsilons_size()}) {
    if (size == 0 || size == num_rows) continue;
    return Invalid(reason::kSampling, "sampling_columns",
                   absl::StrCat(size, " entries"),
                   absl::StrCat(num_rows, ", one per row"));
  }
  columns_ = &columns;
  return absl::OkStatus();
}

absl::Status SamplingRows::SetMask(const v1::Tensor& action_mask,
                                   std::int64_t num_rows) {
  if (spec_.num_actions == 0) {
    return Invalid(reason::kSampling, "action_mask", "a mask",
                   "nothing: the policy has no actions");
  }
  FieldSpec field;
  field.name = "action_mask";
  field.dtype = DType::kBool;
  field.shape = {spec_.num_actions};
  field.required = false;
  mask_field_ = std::make_unique<const FieldSpec>(std::move(field));
  absl::StatusOr<TensorColumn> column =
      TensorColumn::Create(*mask_field_, action_mask);
  if (!column.ok()) return column.status();
  if (column->num_rows() != num_rows) {
    return Invalid(reason::kFieldShape, mask_field_->name,
                   absl::StrCat(column->num_rows(), " rows"),
                   absl::StrCat(num_rows, ", one per answered step"));
  }
  mask_ = *std::move(column);
  return absl::OkStatus();
}

absl::StatusOr<SamplingParams> SamplingRows::Params(std::int64_t row) const {
  if (columns_ == nullptr) return DecodeSampling(spec_, *sampling_);
  absl::StatusOr<SamplingParams> params = DecodeSampling(
      spec_, MergeRow(*sampling_, *columns_, static_cast<int>(row)));
  if (!params.ok()) return InRow(params.status(), row);
  return params;
}

absl::Status SamplingRows::AppendTo(std::int64_t row, StepTask* task) const {
  const absl::StatusOr<SamplingParams> params = Params(row);
  if (!params.ok()) return params.status();
  task->sampling = *params;
  return mask_ ? AppendMask(row, task) : absl::OkStatus();
}

absl::Status SamplingRows::AppendMask(std::int64_t row, StepTask* task) const {
  const FieldValue value = mask_->Value(row);
  std::vector<std::uint8_t>& mask = task->action_mask;
  if (!value.is_present()) {
    mask.resize(mask.size() + static_cast<std::size_t>(spec_.num_actions), 1);
    return absl::OkStatus();
  }
  mask.insert(mask.end(), value.data, value.data + value.count);
  const std::int64_t num_scores =
      task->sampling.num_actions.value_or(spec_.num_actions);
  if (std::any_of(value.data, value.data + num_scores,
                  [](char allowed) { return allowed != 0; })) {
    return absl::OkStatus();
  }
  return InRow(Invalid(reason::kSampling, "action_mask", "no action",
                       absl::StrCat("at least one of the first ", num_scores)),
               row);
}

}  // namespace stepd
