// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/layers/cross_attention.h"

#include <cmath>
#include <cstddef>

#include "ATen/Functions.h"
#include "ATen/core/Tensor.h"
#include "model/layers/banked_rows.h"

namespace stepd {

using kernels::KernelSet;

namespace {

std::vector<std::unique_ptr<kernels::PackedLinear>> PackEach(
    const std::vector<LinearWeights>& banks, const KernelSet& kernels) {
  std::vector<std::unique_ptr<kernels::PackedLinear>> packed;
  for (const LinearWeights& bank : banks) {
    packed.push_back(kernels.Pack({bank}));
  }
  return packed;
}

}  // namespace

CrossAttention::CrossAttention(const CrossAttentionConfig& config,
                               const KernelSet& kernels, int tokens_per_block)
    : shape_{config.num_heads, config.num_kv_heads, config.head_dim,
             config.head_dim, tokens_per_block},
      softmax_scale_(1.0F / std::sqrt(static_cast<float>(config.head_dim))),
      has_rope_(!config.rope.inverse_frequencies.empty()),
      q_(PackEach(config.q, kernels)),
      kv_(kernels.Pack({config.k, config.v})),
      o_(PackEach(config.o, kernels)) {
  if (config.source_norm.has_value()) {
    source_norm_.emplace(*config.source_norm, kernels);
  }
}

KvCacheSpec CrossAttention::source_spec() const {
  const std::int64_t width = std::int64_t{shape_.num_kv_heads} * shape_.k_dim;
  return {width, width};
}

std::int64_t CrossAttention::ScratchSize(std::int64_t num_tokens) const {
  const std::int64_t q_dim = q_.front()->out_dim();
  const std::int64_t dim = o_.front()->out_dim();
  const auto sorted = [&](std::int64_t width) {
    return BankedRows::ScratchSize(q_.size(), num_tokens, width);
  };
  return 2 * Scratch::Rounded(num_tokens * q_dim) + 2 * sorted(q_dim) +
         2 * sorted(dim);
}

void CrossAttention::ReadSource(const KernelSet& kernels,
                                const SourceRows& rows,
                                const kernels::KvSlot& slot) const {
  const std::int64_t num_rows = rows.layout->num_tokens();
  const std::int64_t dim = kv_->in_dim();
  const std::int64_t width = kv_->out_dim();
  const auto options = at::TensorOptions(at::kFloat).device(kernels.device());
  const float* x = rows.x;
  at::Tensor normed;
  if (source_norm_.has_value()) {
    normed = at::empty({num_rows, dim}, options);
    float* y = normed.data_ptr<float>();
    if (rows.modulation == nullptr) {
      source_norm_->Apply(kernels, x, num_rows, y);
    } else {
      source_norm_->ApplyWith(kernels,
                              {rows.modulation, rows.modulation + dim, dim}, x,
                              num_rows, y);
    }
    x = y;
  }
  at::Tensor kv = at::empty({num_rows, width}, options);
  float* k = kv.data_ptr<float>();
  kernels.Linear({kv_.get(), x, num_rows, k});
  if (has_rope_) {
    kernels.Rope({k, num_rows, width, shape_.num_kv_heads, shape_.k_dim},
                 rows.rope);
  }
  kernels.AppendKv({rows.layout, shape_, k, width, k + width / 2, width, slot});
}

void CrossAttention::AddTo(const KernelSet& kernels,
                           const AttentionInputs& inputs, const float* x,
                           float* residual) const {
  const std::int64_t num_tokens = inputs.layout->num_tokens();
  const std::int64_t q_dim = q_.front()->out_dim();
  const std::int64_t dim = o_.front()->out_dim();
  const Scratch::Scope scope(inputs.scratch);
  const BankedRows rows(kernels, *inputs.layout, q_.size());
  const float* sorted = rows.Sort(x, dim, inputs.scratch);
  float* query = inputs.scratch->Take(num_tokens * q_dim);
  rows.ForEachBank(
      [&](std::size_t bank, std::int64_t first, std::int64_t count) {
        kernels.Linear({q_[bank].get(), sorted + first * dim, count,
                        query + first * q_dim});
      });
  query = rows.Unsort(query, q_dim, inputs.scratch);
  if (has_rope_) {
    kernels.Rope({query, num_tokens, q_dim, shape_.num_heads, shape_.k_dim},
                 inputs.rope);
  }
  float* mixed = inputs.scratch->Take(num_tokens * q_dim);
  kernels::PagedAttentionParams params;
  params.layout = inputs.layout;
  params.shape = shape_;
  params.query = query;
  params.query_stride = q_dim;
  params.softmax_scale = softmax_scale_;
  params.out = mixed;
  params.sources = inputs.sources;
  kernels.PagedAttention(params);
  const float* read = rows.Sort(mixed, q_dim, inputs.scratch);
  rows.AddTo(
      residual, dim, inputs.scratch,
      [&](std::size_t bank, std::int64_t first, std::int64_t count, float* to) {
        kernels.Linear({o_[bank].get(), read + first * q_dim, count, to,
                        kernels::LinearOutput::kAdd});
      });
}

}  // namespace stepd
