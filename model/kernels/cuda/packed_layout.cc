// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/kernels/cuda/packed_layout.h"

#include <algorithm>
#include <cstring>

namespace stepd::kernels::cuda {
namespace {

constexpr std::size_t kSmallestArray = 64;  // entries

std::size_t RoundUpToPowerOfTwo(std::size_t count) {
  std::size_t rounded = kSmallestArray;
  while (rounded < count) rounded *= 2;
  return rounded;
}

template <typename T>
void CopyTo(const std::vector<T>& from, std::byte* to) {
  if (!from.empty()) std::memcpy(to, from.data(), from.size() * sizeof(T));
}

}  // namespace

std::int64_t LayoutPacking::RoundContext(std::int64_t max_keys) {
  std::int64_t rounded = kSmallestSplit;
  while (rounded < max_keys) rounded *= 2;
  return rounded;
}

void LayoutPacking::Assign(const BatchLayout& layout) {
  CutIntoTiles(layout, &tiles_);
  slice_tiles_.assign(1, 0);
  std::int64_t longest = std::max<std::int64_t>(1, layout.context_capacity);
  for (std::size_t b = 0; b < layout.kv_lens.size(); ++b) {
    const std::int32_t rows =
        layout.query_indptr[b + 1] - layout.query_indptr[b];
    slice_tiles_.push_back(slice_tiles_.back() +
                           (rows + kTileRows - 1) / kTileRows);
    longest = std::max<std::int64_t>(longest, layout.kv_lens[b]);
  }
  max_keys_ = RoundContext(longest);
  num_blocks_ = layout.block_indices.size();
  Reserve(std::max(layout.positions.size(), layout.answered_rows.size()),
          num_blocks_);
}

void LayoutPacking::Reserve(std::size_t rows, std::size_t num_blocks) {
  row_capacity_ = std::max(row_capacity_, RoundUpToPowerOfTwo(rows));
  block_capacity_ = std::max(block_capacity_, RoundUpToPowerOfTwo(num_blocks));
}

std::size_t LayoutPacking::row_array_bytes() const {
  return row_capacity_ * sizeof(std::int32_t);
}

// There are no more tiles than rows.
std::size_t LayoutPacking::blocks_at() const {
  return tiles_at() + row_capacity_ * sizeof(AttentionTile);
}

std::size_t LayoutPacking::capacity() const {
  return blocks_at() + block_capacity_ * sizeof(std::int32_t);
}

std::size_t LayoutPacking::used() const {
  return blocks_at() + num_blocks_ * sizeof(std::int32_t);
}

void LayoutPacking::Write(const BatchLayout& layout, std::byte* host) const {
  const std::vector<std::int32_t>* arrays[kNumRowArrays] = {
      &layout.positions,     &layout.token_blocks, &layout.token_offsets,
      &layout.answered_rows, &layout.banks.rows,   &layout.banks.places};
  for (std::size_t i = 0; i < kNumRowArrays; ++i) {
    CopyTo(*arrays[i], host + i * row_array_bytes());
  }
  CopyTo(tiles_, host + tiles_at());
  CopyTo(layout.block_indices, host + blocks_at());
}

DeviceLayout LayoutPacking::At(const std::byte* device) const {
  const auto rows = [&](std::size_t array) {
    return reinterpret_cast<const std::int32_t*>(device +
                                                 array * row_array_bytes());
  };
  DeviceLayout at;
  at.positions = rows(0);
  at.token_blocks = rows(1);
  at.token_offsets = rows(2);
  at.answered_rows = rows(3);
  at.bank_rows = rows(4);
  at.bank_places = rows(5);
  at.tiles = reinterpret_cast<const AttentionTile*>(device + tiles_at());
  at.block_indices =
      reinterpret_cast<const std::int32_t*>(device + blocks_at());
  at.num_tiles = static_cast<int>(tiles_.size());
  at.max_keys = max_keys_;
  at.slice_tiles = slice_tiles_;
  return at;
}

}  // namespace stepd::kernels::cuda
