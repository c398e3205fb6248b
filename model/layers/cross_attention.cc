// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/layers/cross_attention.h"

#include <cmath>

#include "ATen/Functions.h"
#include "ATen/core/Tensor.h"

namespace stepd {

using kernels::KernelSet;

CrossAttention::CrossAttention(const CrossAttentionConfig& config,
                               const KernelSet& kernels, int tokens_per_block)
    : shape_{config.num_heads, config.num_kv_heads, config.head_dim,
             config.head_dim, tokens_per_block},
      softmax_scale_(1.0F / std::sqrt(static_cast<float>(config.head_dim))),
      q_(kernels.Pack({config.q})),
      kv_(kernels.Pack({config.k, config.v})),
      o_(kernels.Pack({config.o})) {}

KvCacheSpec CrossAttention::source_spec() const {
  const std::int64_t width = std::int64_t{shape_.num_kv_heads} * shape_.k_dim;
  return {width, width};
}

std::int64_t CrossAttention::ScratchSize(std::int64_t num_tokens) const {
  return Scratch::Rounded(num_tokens * q_->out_dim()) +
         Scratch::Rounded(num_tokens * o_->in_dim());
}

void CrossAttention::ReadSource(const KernelSet& kernels, const float* rows,
                                const kernels::BatchLayout& layout,
                                const kernels::KvSlot& slot) const {
  const std::int64_t width = kv_->out_dim();
  at::Tensor kv =
      at::empty({layout.num_tokens(), width},
                at::TensorOptions(at::kFloat).device(kernels.device()));
  float* k = kv.data_ptr<float>();
  kernels.Linear({kv_.get(), rows, layout.num_tokens(), k});
  kernels.AppendKv({&layout, shape_, k, width, k + width / 2, width, slot});
}

void CrossAttention::AddTo(const KernelSet& kernels,
                           const AttentionInputs& inputs, const float* x,
                           float* residual) const {
  const std::int64_t num_tokens = inputs.layout->num_tokens();
  const Scratch::Scope scope(inputs.scratch);
  float* query = inputs.scratch->Take(num_tokens * q_->out_dim());
  float* mixed = inputs.scratch->Take(num_tokens * o_->in_dim());
  kernels.Linear({q_.get(), x, num_tokens, query});
  kernels::PagedAttentionParams params;
  params.layout = inputs.layout;
  params.shape = shape_;
  params.query = query;
  params.query_stride = q_->out_dim();
  params.softmax_scale = softmax_scale_;
  params.out = mixed;
  params.sources = inputs.sources;
  kernels.PagedAttention(params);
  kernels.Linear(
      {o_.get(), mixed, num_tokens, residual, kernels::LinearOutput::kAdd});
}

}  // namespace stepd
