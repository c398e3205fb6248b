// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/modules/pattern_stack.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>
#include <variant>

#include "ATen/Functions.h"
#include "ATen/TensorOperators.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "model/layers/attention_inputs.h"
#include "model/layers/pattern_attention.h"
#include "model/layers/scratch.h"

namespace stepd {

using kernels::BatchLayout;
using kernels::KernelSet;

namespace {

// Patterns have no blocks of a session; theirs are as large as the kernels'.
constexpr int kTokensPerBlock = 16;

template <typename... Parts>
absl::Status Malformed(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

// `what` is there exactly when it is wanted, in the wanted shape.
absl::Status CheckPresence(const char* what, const at::Tensor& tensor,
                           bool is_wanted, at::IntArrayRef shape) {
  if (tensor.defined() != is_wanted) {
    return Malformed(what, is_wanted ? " is missing" : " is not read");
  }
  if (is_wanted && tensor.sizes() != shape) {
    return Malformed(what, " has another shape than [", c10::Join(", ", shape),
                     "]");
  }
  return absl::OkStatus();
}

}  // namespace

int AxialRope::turned_dim() const {
  const int rest = head_dim % num_axes;
  const int padding = rest + num_axes * ((head_dim - rest) / num_axes % 2);
  return (head_dim - padding) / num_axes;
}

struct PatternStack::Batch {
  BatchLayout layout;
  std::vector<std::vector<AttentionPattern>> patterns;  // by layer, or one
  at::Tensor cos;                                       // [N, head_dim / 2]
  at::Tensor sin;
  std::vector<at::Tensor> modulations;  // by layer [B, 6 D]
};

PatternStack::PatternStack(const PatternStackConfig& config,
                           const KernelSet& kernels)
    : kernels_(kernels), num_banks_(config.num_banks), rope_(config.rope) {
  for (const LayerConfig& layer : config.layers) {
    layers_.emplace_back(layer, kernels, kTokensPerBlock);
    condition_dim_ = layers_.back().condition_dim();
  }
  dim_ = layers_.front().dim();
  if (const RopeConfig* rope = FindRope(config.layers.front().attention)) {
    pairing_ = rope->pairing;
  }
}

absl::Status PatternStack::Check(const PatternStackInputs& inputs) const {
  if (inputs.x.dim() != 3 || inputs.x.size(2) != dim_) {
    return Malformed("x is not [batch, tokens, ", dim_, "]");
  }
  const std::int64_t batch = inputs.x.size(0);
  const std::int64_t tokens = inputs.x.size(1);
  absl::Status status =
      CheckPresence("coordinates", inputs.coordinates, rope_.has_value(),
                    {batch, tokens, rope_.has_value() ? rope_->num_axes : 0});
  status.Update(CheckPresence("the condition", inputs.condition,
                              condition_dim_ > 0, {batch, condition_dim_}));
  if (inputs.is_real.defined()) {
    status.Update(
        CheckPresence("the mask", inputs.is_real, true, {batch, tokens}));
    if (inputs.is_real.scalar_type() != at::kBool) {
      status.Update(Malformed("the mask is not of bool"));
    }
  }
  const std::size_t count = inputs.patterns.size();
  if (count > 1 && count != layers_.size()) {
    status.Update(Malformed("patterns are there for ", count, " layers of ",
                            layers_.size()));
  }
  if (const int domains = CountDomains(inputs.specs); domains != num_banks_) {
    status.Update(
        Malformed("token groups have ", domains, " domains, not ", num_banks_));
  }
  return status;
}

absl::Status PatternStack::LayOut(const PatternStackInputs& inputs,
                                  Batch* batch) const {
  const std::int64_t tokens = inputs.x.size(1);
  const auto banks = BanksOfTokens(inputs.specs, tokens, num_banks_);
  if (!banks.ok()) return banks.status();
  std::vector<std::int32_t> all_banks;
  BatchLayout& layout = batch->layout;
  layout.query_indptr.push_back(0);
  for (std::int64_t b = 0; b < inputs.x.size(0); ++b) {
    all_banks.insert(all_banks.end(), banks->begin(), banks->end());
    for (std::int64_t i = 0; i < tokens; ++i) {
      layout.positions.push_back(static_cast<std::int32_t>(i));
    }
    layout.query_indptr.push_back(
        static_cast<std::int32_t>(layout.num_tokens()));
  }
  layout.banks.Assign(all_banks, num_banks_);
  return PlanPatterns(inputs, batch);
}

absl::Status PatternStack::PlanPatterns(const PatternStackInputs& inputs,
                                        Batch* batch) const {
  std::vector<std::vector<NamedPattern>> named = inputs.patterns;
  if (named.empty()) named.push_back(AllToAll(inputs.specs));
  const std::int64_t tokens = inputs.x.size(1);
  for (const std::vector<NamedPattern>& of_layer : named) {
    std::vector<AttentionPattern>& patterns = batch->patterns.emplace_back();
    for (std::int64_t b = 0; b < inputs.x.size(0); ++b) {
      absl::Span<const bool> is_real;
      at::Tensor mask;
      if (inputs.is_real.defined()) {
        mask = inputs.is_real.select(0, b).contiguous();
        is_real = absl::MakeConstSpan(mask.const_data_ptr<bool>(),
                                      static_cast<std::size_t>(tokens));
      }
      const auto rows = RowsOfPatterns(inputs.specs, of_layer, is_real,
                                       static_cast<std::int32_t>(b * tokens));
      if (!rows.ok()) return rows.status();
      patterns.insert(patterns.end(), rows->begin(), rows->end());
    }
  }
  return absl::OkStatus();
}

void PatternStack::Turn(const at::Tensor& coordinates, Batch* batch) const {
  const at::Tensor rows = coordinates.reshape({-1, rope_->num_axes});
  const int turned = rope_->turned_dim();
  at::Tensor angles = at::zeros({rows.size(0), rope_->head_dim / 2});
  for (int axis = 0; axis < rope_->num_axes; ++axis) {
    for (int i = 0; i < turned / 2; ++i) {
      const auto frequency = static_cast<float>(
          std::pow(rope_->max_wavelength, -2.0 * i / turned));
      angles.select(1, axis * turned / 2 + i)
          .copy_(rows.select(1, axis) * frequency);
    }
  }
  batch->cos = kernels::ToDevice(kernels_, angles.cos());
  batch->sin = kernels::ToDevice(kernels_, angles.sin());
}

absl::StatusOr<std::vector<at::Tensor>> PatternStack::Forward(
    const PatternStackInputs& inputs) const {
  if (absl::Status s = Check(inputs); !s.ok()) return s;
  Batch batch;
  if (absl::Status s = LayOut(inputs, &batch); !s.ok()) return s;
  Scratch scratch(kernels_.device());
  AttentionInputs of_layer;
  of_layer.layout = &batch.layout;
  of_layer.scratch = &scratch;
  if (rope_.has_value()) {
    Turn(inputs.coordinates, &batch);
    of_layer.rope = {batch.cos.const_data_ptr<float>(),
                     batch.sin.const_data_ptr<float>(), pairing_};
  }
  const at::Tensor condition = kernels::ToDevice(kernels_, inputs.condition);
  at::Tensor x = kernels::ToDevice(kernels_, inputs.x);
  std::vector<at::Tensor> after;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    scratch.Reserve(layer.ScratchSize(batch.layout.num_tokens()));
    of_layer.patterns = batch.patterns[std::min(i, batch.patterns.size() - 1)];
    std::vector<const float*> modulations;
    at::Tensor modulation;
    if (condition_dim_ > 0) {
      modulation = at::empty({x.size(0), layer.modulation_size()}, x.options());
      for (std::int64_t b = 0; b < x.size(0); ++b) {
        float* to = modulation[b].data_ptr<float>();
        layer.PrepareModulation(kernels_, condition[b].const_data_ptr<float>(),
                                to);
        modulations.push_back(to);
      }
      of_layer.modulations = modulations;
    }
    layer.Forward(kernels_, of_layer, x.data_ptr<float>());
    after.push_back(x.cpu().clone());
  }
  return after;
}

}  // namespace stepd
