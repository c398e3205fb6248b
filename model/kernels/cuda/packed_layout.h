// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// A batch's layout as one piece of memory, so that one copy uploads it. Every
// array has a place of its own that stays the same from batch to batch until
// the memory must grow: recorded kernels read it there. Without CUDA.
//
// Thread safety: plain values.

#ifndef STEPD_MODEL_KERNELS_CUDA_PACKED_LAYOUT_H_
#define STEPD_MODEL_KERNELS_CUDA_PACKED_LAYOUT_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "model/kernels/cuda/attention_tiles.h"
#include "model/kernels/kernel_set.h"

namespace stepd::kernels::cuda {

// Where the arrays are, once uploaded. N rows, B slices.
struct DeviceLayout {
  const std::int32_t* positions = nullptr;      // [N]
  const std::int32_t* token_blocks = nullptr;   // [N]
  const std::int32_t* token_offsets = nullptr;  // [N]
  const std::int32_t* answered_rows = nullptr;
  const std::int32_t* bank_rows = nullptr;    // [N], if there are banks
  const std::int32_t* bank_places = nullptr;  // [N], likewise
  const AttentionTile* tiles = nullptr;
  const std::int32_t* block_indices = nullptr;
  int num_tiles = 0;
  // Of the longest context, rounded by RoundContext().
  std::int64_t max_keys = kSmallestSplit;
  std::vector<int> slice_tiles;  // [B + 1] tiles before each slice; on the host
};

class LayoutPacking {
 public:
  // Makes room for `rows` rows and block tables of `num_blocks` entries.
  void Reserve(std::size_t rows, std::size_t num_blocks);
  // Plans `layout`; places are those of earlier plans if they hold it.
  void Assign(const BatchLayout& layout);

  // Of all arrays as they are placed, whatever their length.
  std::size_t capacity() const;
  // Of what has to be copied of the layout that was assigned.
  std::size_t used() const;

  // Writes the layout that was assigned to `host`, memory of used() bytes.
  void Write(const BatchLayout& layout, std::byte* host) const;
  // Where its arrays are in a copy at `device`.
  DeviceLayout At(const std::byte* device) const;

  // Up to a power of two, kSmallestSplit at least.
  static std::int64_t RoundContext(std::int64_t max_keys);

 private:
  static constexpr std::size_t kNumRowArrays = 6;

  std::size_t row_array_bytes() const;
  std::size_t tiles_at() const { return kNumRowArrays * row_array_bytes(); }
  std::size_t blocks_at() const;

  std::size_t row_capacity_ = 0;    // of each array of rows, and of tiles
  std::size_t block_capacity_ = 0;  // of the block tables
  std::size_t num_blocks_ = 0;      // of the layout at hand
  std::int64_t max_keys_ = kSmallestSplit;
  std::vector<AttentionTile> tiles_;
  std::vector<int> slice_tiles_;
};

}  // namespace stepd::kernels::cuda

#endif  // STEPD_MODEL_KERNELS_CUDA_PACKED_LAYOUT_H_
