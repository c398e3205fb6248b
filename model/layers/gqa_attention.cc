// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/layers/gqa_attention.h"

#include <cmath>

namespace stepd {

using kernels::KernelSet;

GqaAttention::GqaAttention(const GqaConfig& config, const KernelSet& kernels,
                           int tokens_per_block)
    : shape_{config.num_heads, config.num_kv_heads, config.head_dim,
             tokens_per_block},
      window_left_(config.window_left),
      softmax_scale_(1.0F / std::sqrt(static_cast<float>(config.head_dim))),
      qkv_(kernels.Pack({config.q, config.k, config.v})),
      o_(kernels.Pack({config.o})) {
  if (config.q_norm.has_value()) q_norm_.emplace(*config.q_norm, kernels);
  if (config.k_norm.has_value()) k_norm_.emplace(*config.k_norm, kernels);
}

KvCacheSpec GqaAttention::cache_spec() const {
  const std::int64_t width =
      std::int64_t{shape_.num_kv_heads} * shape_.head_dim;
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
  const Scratch::Scope scope(inputs.scratch);
  float* qkv = inputs.scratch->Take(num_tokens * qkv_->out_dim());
  float* mixed = inputs.scratch->Take(num_tokens * o_->in_dim());

  kernels.Linear(*qkv_, x, num_tokens, qkv, kernels::LinearOutput::kStore);

  kernels::RopeAppendParams append;
  append.layout = inputs.layout;
  append.shape = shape_;
  append.qkv = qkv;
  append.cos = inputs.cos;
  append.sin = inputs.sin;
  append.slot = inputs.slot;
  if (q_norm_.has_value()) {
    append.q_norm = q_norm_->weight();
    append.q_norm_eps = q_norm_->eps();
  }
  if (k_norm_.has_value()) {
    append.k_norm = k_norm_->weight();
    append.k_norm_eps = k_norm_->eps();
  }
  kernels.RopeAppend(append);

  kernels::PagedAttentionParams attention;
  attention.layout = inputs.layout;
  attention.shape = shape_;
  attention.query = qkv;
  attention.query_stride = shape_.qkv_dim();
  attention.slot = inputs.slot;
  attention.softmax_scale = softmax_scale_;
  attention.window_left = window_left_;
  attention.out = mixed;
  kernels.PagedAttention(attention);

  kernels.Linear(*o_, mixed, num_tokens, residual, kernels::LinearOutput::kAdd);
}

}  // namespace stepd
