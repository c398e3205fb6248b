// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/kernels/cuda/attention_tiles.h"

#include <algorithm>
#include <cstddef>

#include "model/kernels/kernel_set.h"

namespace stepd::kernels::cuda {
namespace {

// Blocks of threads that one multiprocessor runs at a time, about.
constexpr std::int64_t kBlocksPerMultiprocessor = 4;
constexpr int kDeterministicSplit = 256;

std::int64_t CountSplits(std::int64_t keys, std::int64_t tokens) {
  return (keys + tokens - 1) / tokens;
}

}  // namespace

void CutIntoTiles(const BatchLayout& layout,
                  std::vector<AttentionTile>* tiles) {
  tiles->clear();
  for (std::size_t b = 0; b + 1 < layout.query_indptr.size(); ++b) {
    const std::int32_t begin = layout.query_indptr[b];
    const std::int32_t end = layout.query_indptr[b + 1];
    const std::int32_t first_place = layout.kv_lens[b] - (end - begin);
    for (std::int32_t row = begin; row < end; row += kTileRows) {
      AttentionTile tile;
      tile.first_row = row;
      if (layout.kv_lens[b] > 0) tile.num_rows = std::min(kTileRows, end - row);
      tile.first_place = first_place + (row - begin);
      tile.first_block = layout.block_indptr[b];
      tiles->push_back(tile);
    }
  }
}

SplitPlan PlanSplits(std::int64_t num_blocks, std::int64_t max_keys,
                     const SplitOptions& options) {
  // The smallest power of two that holds a context.
  std::int64_t tokens = kSmallestSplit;
  while (tokens < max_keys) tokens *= 2;
  const std::int64_t wanted =
      kBlocksPerMultiprocessor * options.num_multiprocessors;
  if (options.is_deterministic) {
    tokens = kDeterministicSplit;
  } else {
    while (tokens > kSmallestSplit &&
           num_blocks * CountSplits(max_keys, tokens) < wanted) {
      tokens /= 2;
    }
  }
  SplitPlan plan;
  plan.tokens = static_cast<int>(tokens);
  while (plan.count * tokens < max_keys) plan.count *= 2;
  return plan;
}

}  // namespace stepd::kernels::cuda
