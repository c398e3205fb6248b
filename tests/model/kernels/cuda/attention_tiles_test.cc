// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/kernels/cuda/attention_tiles.h"

#include <cstdint>
#include <vector>

#include "gtest/gtest.h"
#include "model/kernels/kernel_set.h"

namespace stepd::kernels::cuda {
namespace {

TEST(CutIntoTiles, CoversEveryRowOnceAndNoTileSpansSlices) {
  BatchLayout layout;
  layout.query_indptr = {0, 1, 10, 14};
  layout.block_indptr = {0, 2, 3, 3};
  layout.kv_lens = {17, 12, 0};  // the last slice is padding
  std::vector<AttentionTile> tiles;

  CutIntoTiles(layout, &tiles);

  ASSERT_EQ(tiles.size(), 5U);
  EXPECT_EQ(tiles[0].first_row, 0);
  EXPECT_EQ(tiles[0].num_rows, 1);
  EXPECT_EQ(tiles[0].first_place, 16);
  EXPECT_EQ(tiles[0].first_block, 0);
  // Nine new tokens at places 3 to 11.
  EXPECT_EQ(tiles[1].num_rows, 4);
  EXPECT_EQ(tiles[1].first_place, 3);
  EXPECT_EQ(tiles[2].first_row, 5);
  EXPECT_EQ(tiles[2].first_place, 7);
  EXPECT_EQ(tiles[3].num_rows, 1);
  EXPECT_EQ(tiles[3].first_place, 11);
  EXPECT_EQ(tiles[3].first_block, 2);
  EXPECT_EQ(tiles[4].num_rows, 0);
}

SplitPlan Plan(std::int64_t num_blocks, std::int64_t max_keys,
               bool is_deterministic = false) {
  SplitOptions options;
  options.num_multiprocessors = 132;
  options.is_deterministic = is_deterministic;
  return PlanSplits(num_blocks, max_keys, options);
}

TEST(PlanSplits, SplitsFewLongContextsAndLeavesManyWhole) {
  const SplitPlan few = Plan(8, 4096);
  EXPECT_EQ(few.tokens, kSmallestSplit);
  EXPECT_EQ(few.count, 32);

  const SplitPlan many = Plan(1024 * 8, 4096);
  EXPECT_EQ(many.count, 1);
  EXPECT_EQ(many.tokens, 4096);
}

TEST(PlanSplits, ReachesEveryContextInWholeChunks) {
  for (const bool is_deterministic : {false, true}) {
    for (std::int64_t blocks : {1, 7, 64, 1000, 100000}) {
      for (std::int64_t keys : {1, 31, 128, 129, 1500, 4096, 100000}) {
        const SplitPlan plan = Plan(blocks, keys, is_deterministic);
        EXPECT_GE(std::int64_t{plan.tokens} * plan.count, keys);
        EXPECT_EQ(plan.tokens % kChunkKeys, 0);
        EXPECT_EQ(plan.count & (plan.count - 1), 0) << plan.count;
      }
    }
  }
}

TEST(PlanSplits, IsOfOneSizeWhenDeterministic) {
  for (std::int64_t blocks : {1, 100, 100000}) {
    EXPECT_EQ(Plan(blocks, 3000, true).tokens, Plan(1, 1, true).tokens);
  }
}

}  // namespace
}  // namespace stepd::kernels::cuda
