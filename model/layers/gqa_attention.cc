// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/layers/gqa_attention.h"

#include <cmath>

namespace stepd {

using kernels::KernelSet;

GqaAttention::GqaAttention(const GqaConfig& config, const KernelSet& kernels,
                           int tokens_per_block)
    : shape_{config.num_heads, config.num_kv_heads, config.head_dim,
             config.head_dim, tokens_per_block},
      window_left_(config.window_left),
      softmax_scale_(1.0F / std::sqrt(static_cast<float>(config.head_dim))),
      qkv_(kernels.Pack({config.q, config.k, config.v})),
      o_(kernels.Pack({config.o})) {
  if (config.q_norm.has_value()) q_norm_.emplace(*config.q_norm, kernels);
  if (config.k_norm.has_value()) k_norm_.emplace(*config.k_norm, kernels);
}

KvCacheSpec GqaAttention::cache_spec() const {
  const std::int64_t width = std::int64_t{shape_.num_kv_heads} * shape_.k_dim;
  return {width, width};
}

std::int64_t GqaAttention::ScratchSize(std::int64_t num_tokens) const {
  return Scratch::Rounded(num_tokens * qkv_->out_dim()) +
         Scratch::Rounded(num_tokens * o_->in_dim());
}

void GqaAttention::AddTo(const KernelSet& kernels,
                         const AttentionInputs& inputs, const float* x,
                         float* residual) const {
  const std::int64_t num_tokens = inputs.layout->num_tokens();
  const std::int64_t width = qkv_->out_dim();
  const Scratch::Scope scope(inputs.scratch);
  float* qkv = inputs.scratch->Take(num_tokens * width);
  float* mixed = inputs.scratch->Take(num_tokens * o_->in_dim());
  float* k = qkv + shape_.num_heads * shape_.k_dim;
  float* v = k + shape_.num_kv_heads * shape_.k_dim;

  kernels.Linear({qkv_.get(), x, num_tokens, qkv});
  const kernels::HeadRows q_heads = {qkv, num_tokens, width, shape_.num_heads,
                                     shape_.k_dim};
  const kernels::HeadRows k_heads = {k, num_tokens, width, shape_.num_kv_heads,
                                     shape_.k_dim};
  if (q_norm_.has_value()) q_norm_->ApplyToHeads(kernels, q_heads);
  if (k_norm_.has_value()) k_norm_->ApplyToHeads(kernels, k_heads);
  kernels.Rope(q_heads, inputs.rope);
  kernels.Rope(k_heads, inputs.rope);
  kernels.AppendKv({inputs.layout, shape_, k, width, v, width, inputs.slot});
  kernels.PagedAttention({inputs.layout, shape_, qkv, width, inputs.slot,
                          softmax_scale_, window_left_, mixed});
  kernels.Linear(
      {o_.get(), mixed, num_tokens, residual, kernels::LinearOutput::kAdd});
}

}  // namespace stepd
