// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/layers/mla_attention.h"

#include <cmath>
#include <cstddef>

#include "ATen/Functions.h"

namespace stepd {

using kernels::KernelSet;
using kernels::LinearOutput;

MlaAttention::MlaAttention(const MlaConfig& config, const KernelSet& kernels,
                           int tokens_per_block)
    : shape_{config.num_heads, 1, config.latent_dim + config.rope_dim,
             config.latent_dim, tokens_per_block},
      nope_dim_(config.nope_dim),
      rope_dim_(config.rope_dim),
      v_dim_(config.v_dim),
      softmax_scale_(1.0F / std::sqrt(static_cast<float>(config.nope_dim +
                                                         config.rope_dim))),
      q_down_(kernels.Pack({config.q_down})),
      q_norm_(config.q_norm, kernels),
      q_up_nope_(kernels.Pack({config.q_up_nope})),
      q_up_rope_(kernels.Pack({config.q_up_rope})),
      kv_down_(kernels.Pack({config.kv_down})),
      kv_norm_(config.kv_norm, kernels),
      o_(kernels.Pack({config.o})) {
  const std::int64_t per_head = nope_dim_ + v_dim_;
  for (std::int64_t h = 0; h < shape_.num_heads; ++h) {
    const at::Tensor up = config.kv_up.narrow(0, h * per_head, per_head);
    key_folds_.push_back(kernels.Pack(
        {{up.narrow(0, 0, nope_dim_).transpose(0, 1), at::Tensor()}}));
    value_ups_.push_back(
        kernels.Pack({{up.narrow(0, nope_dim_, v_dim_), at::Tensor()}}));
  }
}

KvCacheSpec MlaAttention::cache_spec() const { return {shape_.k_dim, 0}; }

std::int64_t MlaAttention::ScratchSize(std::int64_t num_tokens) const {
  const std::int64_t heads = shape_.num_heads;
  const auto rounded = [num_tokens](std::int64_t width) {
    return Scratch::Rounded(num_tokens * width);
  };
  return rounded(heads * shape_.k_dim) + rounded(heads * shape_.v_dim) +
         rounded(o_->in_dim()) + rounded(q_down_->out_dim()) +
         rounded(heads * nope_dim_) + rounded(heads * rope_dim_) +
         rounded(kv_down_->out_dim()) + rounded(shape_.v_dim);
}

void MlaAttention::Query(const KernelSet& kernels,
                         const AttentionInputs& inputs, const float* x,
                         float* query) const {
  const std::int64_t num_tokens = inputs.layout->num_tokens();
  const std::int64_t heads = shape_.num_heads;
  const std::int64_t query_stride = heads * shape_.k_dim;
  const Scratch::Scope scope(inputs.scratch);
  float* rank = inputs.scratch->Take(num_tokens * q_down_->out_dim());
  float* nope = inputs.scratch->Take(num_tokens * heads * nope_dim_);
  float* rope = inputs.scratch->Take(num_tokens * heads * rope_dim_);
  kernels.Linear({q_down_.get(), x, num_tokens, rank});
  q_norm_.Apply(kernels, rank, num_tokens, rank);
  kernels.Linear({q_up_nope_.get(), rank, num_tokens, nope});
  kernels.Linear({q_up_rope_.get(), rank, num_tokens, rope});
  kernels.Rope(
      {rope, num_tokens, heads * rope_dim_, shape_.num_heads, rope_dim_},
      inputs.rope);
  for (std::int64_t h = 0; h < heads; ++h) {
    float* head = query + h * shape_.k_dim;
    kernels.Linear({key_folds_[static_cast<std::size_t>(h)].get(),
                    nope + h * nope_dim_, num_tokens, head,
                    LinearOutput::kStore, heads * nope_dim_, query_stride});
    kernels.CopyColumns({rope + h * rope_dim_, heads * rope_dim_,
                         head + shape_.v_dim, query_stride, num_tokens,
                         rope_dim_});
  }
}

void MlaAttention::Append(const KernelSet& kernels,
                          const AttentionInputs& inputs, const float* x) const {
  const std::int64_t num_tokens = inputs.layout->num_tokens();
  const std::int64_t width = shape_.k_dim;
  const Scratch::Scope scope(inputs.scratch);
  float* key = inputs.scratch->Take(num_tokens * width);
  float* latent = inputs.scratch->Take(num_tokens * shape_.v_dim);
  kernels.Linear({kv_down_.get(), x, num_tokens, key});
  // The norm of the latent is the same whenever the token is read: cache it
  // normed. It wants dense rows.
  kernels.CopyColumns(
      {key, width, latent, shape_.v_dim, num_tokens, shape_.v_dim});
  kv_norm_.Apply(kernels, latent, num_tokens, latent);
  kernels.CopyColumns(
      {latent, shape_.v_dim, key, width, num_tokens, shape_.v_dim});
  kernels.Rope({key + shape_.v_dim, num_tokens, width, 1, rope_dim_},
               inputs.rope);
  kernels.AppendKv(
      {inputs.layout, shape_, key, width, nullptr, 0, inputs.slot});
}

void MlaAttention::AddTo(const KernelSet& kernels,
                         const AttentionInputs& inputs, const float* x,
                         float* residual) const {
  const std::int64_t num_tokens = inputs.layout->num_tokens();
  const std::int64_t heads = shape_.num_heads;
  const Scratch::Scope scope(inputs.scratch);
  float* query = inputs.scratch->Take(num_tokens * heads * shape_.k_dim);
  float* mixed = inputs.scratch->Take(num_tokens * heads * shape_.v_dim);
  float* values = inputs.scratch->Take(num_tokens * o_->in_dim());
  Query(kernels, inputs, x, query);
  Append(kernels, inputs, x);
  kernels.PagedAttention({inputs.layout, shape_, query, heads * shape_.k_dim,
                          inputs.slot, softmax_scale_, /*window_left=*/-1,
                          mixed});
  for (std::int64_t h = 0; h < heads; ++h) {
    kernels.Linear({value_ups_[static_cast<std::size_t>(h)].get(),
                    mixed + h * shape_.v_dim, num_tokens, values + h * v_dim_,
                    LinearOutput::kStore, heads * shape_.v_dim,
                    heads * v_dim_});
  }
  kernels.Linear({o_.get(), values, num_tokens, residual, LinearOutput::kAdd});
}

}  // namespace stepd
