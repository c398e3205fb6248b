// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/kv_cache/source_cache.h"

namespace stepd {

absl::StatusOr<SourceCache> SourceCache::Create(
    absl::Span<const KvCacheSpec> slots, std::int64_t num_rows,
    int tokens_per_block, const at::TensorOptions& numbers) {
  const std::int64_t num_blocks =
      (num_rows + tokens_per_block - 1) / tokens_per_block;
  absl::StatusOr<KvCache> cache =
      KvCache::Create(slots, num_blocks * tokens_per_block, numbers);
  if (!cache.ok()) return cache.status();
  SourceCache source(*std::move(cache));
  kernels::BatchLayout& layout = source.layout_;
  for (std::int32_t row = 0; row < num_rows; ++row) {
    layout.positions.push_back(row);
    layout.token_blocks.push_back(row / tokens_per_block);
    layout.token_offsets.push_back(row % tokens_per_block);
  }
  for (std::int32_t block = 0; block < num_blocks; ++block) {
    layout.block_indices.push_back(block);
  }
  layout.query_indptr = {0, static_cast<std::int32_t>(num_rows)};
  layout.block_indptr = {0, static_cast<std::int32_t>(num_blocks)};
  layout.kv_lens = {static_cast<std::int32_t>(num_rows)};
  return source;
}

}  // namespace stepd
