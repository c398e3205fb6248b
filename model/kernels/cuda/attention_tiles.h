// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// How the GPU's attention divides a batch: query rows into tiles that read the
// keys together, contexts into splits. Plain numbers, without CUDA.
//
// Thread safety: pure functions and plain values.

#ifndef STEPD_MODEL_KERNELS_CUDA_ATTENTION_TILES_H_
#define STEPD_MODEL_KERNELS_CUDA_ATTENTION_TILES_H_

#include <cstdint>
#include <vector>

namespace stepd::kernels {

struct BatchLayout;

namespace cuda {

// Of every policy's blocks.
constexpr int kTokensPerBlock = 16;
// Rows of a tile: all tokens of most steps.
constexpr int kTileRows = 4;
// Keys that a block of threads reads at a time; splits end at multiples of it.
constexpr int kChunkKeys = 32;
// Keys: what a context is never split below.
constexpr int kSmallestSplit = 128;

// Consecutive new tokens of one slice. As the kernel reads it.
struct AttentionTile {
  std::int32_t first_row = 0;    // of the batch
  std::int32_t num_rows = 0;     // 0: nothing is to be done
  std::int32_t first_place = 0;  // of the first row in its session
  std::int32_t first_block = 0;  // of the session, into block_indices
};

// The tiles of all slices, in order; those of padding have no rows.
void CutIntoTiles(const BatchLayout& layout, std::vector<AttentionTile>* tiles);

// Split s is of the keys [s * tokens, (s + 1) * tokens).
struct SplitPlan {
  int tokens = 0;  // a multiple of kChunkKeys
  int count = 1;
};

struct SplitOptions {
  int num_multiprocessors = 0;
  // The same split size for every batch: a row's sum is then made of the same
  // parts wherever it is computed.
  bool is_deterministic = false;
};

// For `num_blocks` blocks of threads per split and contexts of up to
// `max_keys`: as few splits as keep every multiprocessor busy. `count` is a
// power of two, so that there are few different plans.
// REQUIRES: num_blocks >= 1, max_keys >= 1
SplitPlan PlanSplits(std::int64_t num_blocks, std::int64_t max_keys,
                     const SplitOptions& options);

}  // namespace cuda
}  // namespace stepd::kernels

#endif  // STEPD_MODEL_KERNELS_CUDA_ATTENTION_TILES_H_
