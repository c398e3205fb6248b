// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/kernels/cuda/packed_layout.h"

#include <cstddef>
#include <cstdint>
#include <vector>

#include "gtest/gtest.h"

namespace stepd::kernels::cuda {
namespace {

// Two slices, of three and of two new tokens.
BatchLayout MakeLayout(std::int32_t first_block) {
  BatchLayout layout;
  layout.query_indptr = {0, 3, 5};
  layout.block_indptr = {0, 1, 3};
  layout.block_indices = {first_block, first_block + 1, first_block + 2};
  layout.kv_lens = {3, 20};
  layout.positions = {0, 1, 2, 18, 19};
  layout.token_blocks = {4, 4, 4, 6, 6};
  layout.token_offsets = {0, 1, 2, 2, 3};
  layout.answered_rows = {2, 4};
  layout.banks.Assign({1, 0, 1, 0, 0}, 2);
  return layout;
}

template <typename T>
std::vector<T> Read(const T* from, std::size_t count) {
  return {from, from + count};
}

TEST(LayoutPacking, PutsEveryArrayWhereItSays) {
  const BatchLayout layout = MakeLayout(7);
  LayoutPacking packing;
  packing.Assign(layout);
  std::vector<std::byte> memory(packing.used());
  packing.Write(layout, memory.data());

  const DeviceLayout at = packing.At(memory.data());

  EXPECT_EQ(Read(at.positions, 5), layout.positions);
  EXPECT_EQ(Read(at.token_blocks, 5), layout.token_blocks);
  EXPECT_EQ(Read(at.token_offsets, 5), layout.token_offsets);
  EXPECT_EQ(Read(at.answered_rows, 2), layout.answered_rows);
  EXPECT_EQ(Read(at.bank_rows, 5), layout.banks.rows);
  EXPECT_EQ(Read(at.bank_places, 5), layout.banks.places);
  EXPECT_EQ(Read(at.block_indices, 3), layout.block_indices);
  ASSERT_EQ(at.num_tiles, 2);
  EXPECT_EQ(at.tiles[1].first_row, 3);
  EXPECT_EQ(at.tiles[1].first_place, 18);
  EXPECT_EQ(at.max_keys, kSmallestSplit);
}

TEST(LayoutPacking, KeepsPlacesUntilItMustGrow) {
  LayoutPacking packing;
  packing.Reserve(1000, 5000);
  const std::size_t capacity = packing.capacity();
  const std::byte* device = nullptr;
  packing.Assign(MakeLayout(1));
  const DeviceLayout first = packing.At(device);

  BatchLayout larger;
  for (int row = 0; row < 900; ++row) {
    larger.positions.push_back(row);
    larger.block_indices.push_back(row);
  }
  larger.query_indptr = {0, 900};
  larger.block_indptr = {0, 900};
  larger.kv_lens = {900};
  packing.Assign(larger);
  const DeviceLayout second = packing.At(device);

  EXPECT_EQ(packing.capacity(), capacity);
  EXPECT_EQ(first.tiles, second.tiles);
  EXPECT_EQ(first.block_indices, second.block_indices);
  EXPECT_EQ(second.max_keys, 1024);
  EXPECT_LE(packing.used(), capacity);

  packing.Reserve(5000, 5000);
  EXPECT_GT(packing.capacity(), capacity);
}

TEST(LayoutPacking, PlansForTheContextThatIsAskedFor) {
  BatchLayout layout = MakeLayout(0);
  layout.context_capacity = 700;
  LayoutPacking packing;

  packing.Assign(layout);

  EXPECT_EQ(packing.At(nullptr).max_keys, 1024);
}

}  // namespace
}  // namespace stepd::kernels::cuda
