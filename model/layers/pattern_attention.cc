// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/layers/pattern_attention.h"

#include <cstddef>

#include "ATen/Functions.h"

namespace stepd {

using kernels::BatchLayout;
using kernels::KernelSet;
using kernels::KvSlot;

namespace {

// What a vector load may read behind the last block (CpuAttentionArgs).
constexpr std::int64_t kReadBehind = 15;

std::int64_t Width(const kernels::AttentionShape& shape) {
  return (shape.num_heads + shape.num_kv_heads) * std::int64_t{shape.k_dim} +
         shape.num_kv_heads * std::int64_t{shape.v_dim};
}

// The keys of a pattern in blocks of their own.
class PatternKeys {
 public:
  PatternKeys(const KernelSet& kernels, const PatternAttentionParams& params,
              const std::vector<std::int32_t>& keys)
      : num_keys_(static_cast<std::int32_t>(keys.size())) {
    const kernels::AttentionShape& shape = params.shape;
    const std::int32_t per_block = shape.tokens_per_block;
    for (std::int32_t i = 0; i < num_keys_; ++i) {
      layout_.positions.push_back(i);
      layout_.token_blocks.push_back(i / per_block);
      layout_.token_offsets.push_back(i % per_block);
      if (i % per_block == 0) blocks_.push_back(i / per_block);
    }
    const auto count = static_cast<std::int64_t>(blocks_.size());
    const auto options = at::TensorOptions(at::kFloat).device(kernels.device());
    const std::int64_t width = Width(shape);
    at::Tensor rows = at::empty({num_keys_, width}, options);
    kernels.GatherRows(params.qkv, width, keys, rows.data_ptr<float>());
    k_ = at::empty({count * shape.k_block_elements() + kReadBehind}, options);
    v_ = at::empty({count * shape.v_block_elements() + kReadBehind}, options);
    const float* k =
        rows.const_data_ptr<float>() + shape.num_heads * shape.k_dim;
    kernels.AppendKv({&layout_, shape, k, width,
                      k + shape.num_kv_heads * shape.k_dim, width, slot()});
  }

  KvSlot slot() const { return {k_.data_ptr<float>(), v_.data_ptr<float>()}; }

  // Every query as a slice of one token, which sees all keys before it.
  BatchLayout QueryLayout(std::size_t num_queries) const {
    BatchLayout layout;
    layout.query_indptr.push_back(0);
    layout.block_indptr.push_back(0);
    for (std::size_t i = 0; i < num_queries; ++i) {
      layout.positions.push_back(num_keys_ - 1);
      layout.query_indptr.push_back(static_cast<std::int32_t>(i) + 1);
      layout.block_indices.insert(layout.block_indices.end(), blocks_.begin(),
                                  blocks_.end());
      layout.block_indptr.push_back(
          static_cast<std::int32_t>(layout.block_indices.size()));
      layout.kv_lens.push_back(num_keys_);
    }
    return layout;
  }

 private:
  std::int32_t num_keys_;
  BatchLayout layout_;
  std::vector<std::int32_t> blocks_;
  at::Tensor k_;
  at::Tensor v_;
};

}  // namespace

void AttendByPatterns(const KernelSet& kernels,
                      const PatternAttentionParams& params) {
  const std::int64_t width = Width(params.shape);
  const std::int64_t out_width =
      params.shape.num_heads * std::int64_t{params.shape.v_dim};
  const auto options = at::TensorOptions(at::kFloat).device(kernels.device());
  for (const AttentionPattern& pattern : params.patterns) {
    const PatternKeys keys(kernels, params, pattern.keys);
    const auto count = static_cast<std::int64_t>(pattern.queries.size());
    at::Tensor queries = at::empty({count, width}, options);
    at::Tensor mixed = at::empty({count, out_width}, options);
    kernels.GatherRows(params.qkv, width, pattern.queries,
                       queries.data_ptr<float>());
    const BatchLayout layout = keys.QueryLayout(pattern.queries.size());
    kernels::PagedAttentionParams attention;
    attention.layout = &layout;
    attention.shape = params.shape;
    attention.query = queries.const_data_ptr<float>();
    attention.query_stride = width;
    attention.slot = keys.slot();
    attention.softmax_scale = params.softmax_scale;
    attention.out = mixed.data_ptr<float>();
    kernels.PagedAttention(attention);
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t row = pattern.queries[static_cast<std::size_t>(i)];
      kernels.CopyColumns({mixed.const_data_ptr<float>() + i * out_width,
                           out_width, params.out + row * out_width, out_width,
                           1, out_width});
    }
  }
}

}  // namespace stepd
