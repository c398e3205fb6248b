// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/layers/gqa_attention.h"

#include <cmath>
#include <cstddef>
#include <utility>

#include "model/layers/banked_rows.h"
#include "model/layers/pattern_attention.h"

namespace stepd {

using kernels::HeadRows;
using kernels::KernelSet;

GqaAttention::GqaAttention(const GqaConfig& config, const KernelSet& kernels,
                           int tokens_per_block)
    : shape_{config.num_heads, config.num_kv_heads, config.head_dim,
             config.head_dim, tokens_per_block},
      window_left_(config.window_left),
      softmax_scale_(1.0F / std::sqrt(static_cast<float>(config.head_dim))),
      has_rope_(!config.rope.inverse_frequencies.empty()) {
  for (const GqaWeights& weights : config.banks) {
    Bank bank;
    bank.qkv = kernels.Pack({weights.q, weights.k, weights.v});
    bank.o = kernels.Pack({weights.o});
    if (weights.q_norm.has_value()) {
      bank.q_norm.emplace(*weights.q_norm, kernels);
    }
    if (weights.k_norm.has_value()) {
      bank.k_norm.emplace(*weights.k_norm, kernels);
    }
    banks_.push_back(std::move(bank));
  }
}

KvCacheSpec GqaAttention::cache_spec() const {
  const std::int64_t width = std::int64_t{shape_.num_kv_heads} * shape_.k_dim;
  return {width, width};
}

std::int64_t GqaAttention::ScratchSize(std::int64_t num_tokens) const {
  const auto sorted = [&](std::int64_t width) {
    return BankedRows::ScratchSize(banks_.size(), num_tokens, width);
  };
  return Scratch::Rounded(num_tokens * qkv_dim()) +
         Scratch::Rounded(num_tokens * mixed_dim()) + 2 * sorted(dim()) +
         sorted(qkv_dim()) + sorted(mixed_dim());
}

HeadRows GqaAttention::QueryHeads(float* qkv, std::int64_t num_tokens) const {
  return {qkv, num_tokens, qkv_dim(), shape_.num_heads, shape_.k_dim};
}

HeadRows GqaAttention::KeyHeads(float* qkv, std::int64_t num_tokens) const {
  return {qkv + shape_.num_heads * shape_.k_dim, num_tokens, qkv_dim(),
          shape_.num_kv_heads, shape_.k_dim};
}

void GqaAttention::AttendToPast(const KernelSet& kernels,
                                const AttentionInputs& inputs, const float* qkv,
                                float* mixed) const {
  const std::int64_t width = qkv_dim();
  const float* k = qkv + shape_.num_heads * shape_.k_dim;
  const float* v = k + shape_.num_kv_heads * shape_.k_dim;
  kernels.AppendKv({inputs.layout, shape_, k, width, v, width, inputs.slot});
  kernels::PagedAttentionParams params;
  params.layout = inputs.layout;
  params.shape = shape_;
  params.query = qkv;
  params.query_stride = width;
  params.slot = inputs.slot;
  params.softmax_scale = softmax_scale_;
  params.window_left = window_left_;
  params.out = mixed;
  kernels.PagedAttention(params);
}

void GqaAttention::AddTo(const KernelSet& kernels,
                         const AttentionInputs& inputs, const float* x,
                         float* residual) const {
  const std::int64_t num_tokens = inputs.layout->num_tokens();
  const std::int64_t width = qkv_dim();
  const Scratch::Scope scope(inputs.scratch);
  const BankedRows rows(kernels, *inputs.layout, banks_.size());
  const float* sorted = rows.Sort(x, dim(), inputs.scratch);
  float* qkv = inputs.scratch->Take(num_tokens * width);
  rows.ForEachBank([&](std::size_t index, std::int64_t first,
                       std::int64_t count) {
    const Bank& bank = banks_[index];
    float* of_bank = qkv + first * width;
    kernels.Linear({bank.qkv.get(), sorted + first * dim(), count, of_bank});
    if (bank.q_norm.has_value()) {
      bank.q_norm->ApplyToHeads(kernels, QueryHeads(of_bank, count));
    }
    if (bank.k_norm.has_value()) {
      bank.k_norm->ApplyToHeads(kernels, KeyHeads(of_bank, count));
    }
  });
  qkv = rows.Unsort(qkv, width, inputs.scratch);

  if (has_rope_) {
    kernels.Rope(QueryHeads(qkv, num_tokens), inputs.rope);
    kernels.Rope(KeyHeads(qkv, num_tokens), inputs.rope);
  }
  float* mixed = inputs.scratch->Take(num_tokens * mixed_dim());
  if (inputs.patterns.empty()) {
    AttendToPast(kernels, inputs, qkv, mixed);
  } else {
    AttendByPatterns(kernels,
                     {inputs.patterns, shape_, qkv, softmax_scale_, mixed});
  }

  const float* read = rows.Sort(mixed, mixed_dim(), inputs.scratch);
  rows.AddTo(
      residual, dim(), inputs.scratch,
      [&](std::size_t bank, std::int64_t first, std::int64_t count, float* to) {
        kernels.Linear({banks_[bank].o.get(), read + first * mixed_dim(), count,
                        to, kernels::LinearOutput::kAdd});
      });
}

}  // namespace stepd
