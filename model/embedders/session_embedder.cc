// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/embedders/session_embedder.h"

#include <cstddef>

#include "ATen/Functions.h"
#include "ATen/core/Tensor.h"
#include "absl/types/span.h"

namespace stepd {

using kernels::KernelSet;

SessionEmbedder::SessionEmbedder(const SessionRowsConfig& config,
                                 const std::vector<FieldSpec>& session_fields,
                                 const KernelSet& kernels)
    : kernels_(kernels),
      layout_(session_fields),
      field_(config.field),
      mask_field_(config.mask_field),
      activation_(config.activation) {
  const FieldSpec& field = session_fields[static_cast<std::size_t>(field_)];
  num_rows_ = field.shape.size() == 1 ? 1 : field.shape.front();
  in_dim_ = field.shape.back();
  for (const LinearWeights& layer : config.layers) {
    layers_.push_back(kernels.Pack({layer}));
  }
}

std::int64_t SessionEmbedder::dim() const {
  return layers_.empty() ? in_dim_ : layers_.back()->out_dim();
}

absl::StatusOr<SessionEmbedder::Values> SessionEmbedder::Decode(
    absl::string_view session_inputs) const {
  std::vector<FieldValue> values(
      static_cast<std::size_t>(layout_.num_fields()));
  if (!layout_.Decode(session_inputs, absl::MakeSpan(values))) {
    return absl::InvalidArgumentError(
        "the bytes are no session inputs of this policy");
  }
  Values found;
  found.rows = values[static_cast<std::size_t>(field_)];
  if (mask_field_ >= 0) {
    found.mask = values[static_cast<std::size_t>(mask_field_)];
  }
  return found;
}

absl::Status SessionEmbedder::Check(absl::string_view session_inputs) const {
  const absl::StatusOr<Values> values = Decode(session_inputs);
  if (!values.ok()) return values.status();
  if (!values->mask.is_present()) return absl::OkStatus();
  for (std::int64_t i = 0; i < num_rows_; ++i) {
    if (LoadBool(values->mask, i)) return absl::OkStatus();
  }
  return absl::InvalidArgumentError("the mask leaves nothing to attend to");
}

std::int64_t SessionEmbedder::Embed(absl::string_view session_inputs,
                                    float* x) const {
  const Values values = Decode(session_inputs).value();
  std::vector<float> host;
  host.reserve(static_cast<std::size_t>(num_rows_ * in_dim_));
  for (std::int64_t row = 0; row < num_rows_; ++row) {
    if (values.mask.is_present() && !LoadBool(values.mask, row)) continue;
    for (std::int64_t i = 0; i < in_dim_; ++i) {
      host.push_back(LoadFloat(values.rows, row * in_dim_ + i));
    }
  }
  const auto count = static_cast<std::int64_t>(host.size());
  const std::int64_t rows = count / in_dim_;
  if (layers_.empty()) {
    kernels_.CopyFromHost(host.data(), count, x);
    return rows;
  }
  const auto options = at::TensorOptions(at::kFloat).device(kernels_.device());
  at::Tensor in = at::empty({rows, in_dim_}, options);
  kernels_.CopyFromHost(host.data(), count, in.data_ptr<float>());
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const bool is_last = i + 1 == layers_.size();
    at::Tensor out = is_last
                         ? at::Tensor()
                         : at::empty({rows, layers_[i]->out_dim()}, options);
    float* y = is_last ? x : out.data_ptr<float>();
    kernels_.Linear({layers_[i].get(), in.const_data_ptr<float>(), rows, y});
    if (is_last) break;
    kernels_.Activate(activation_, y, rows * layers_[i]->out_dim());
    in = out;
  }
  return rows;
}

}  // namespace stepd
