// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/kv_cache/block_pool.h"

#include <random>
#include <set>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace stepd {
namespace {

using testing::IsEmpty;
using testing::SizeIs;

TEST(BlockPool, StartsWithEveryBlockFree) {
  const BlockPool pool(5);

  EXPECT_EQ(pool.num_blocks(), 5);
  EXPECT_EQ(pool.num_free(), 5);
  EXPECT_EQ(pool.num_used(), 0);
  for (std::int32_t id = 0; id < 5; ++id) EXPECT_EQ(pool.use_count(id), 0);
}

TEST(BlockPool, AllocatesDifferentBlocksAndAppendsThem) {
  BlockPool pool(5);
  std::vector<std::int32_t> blocks;

  EXPECT_TRUE(pool.Allocate(2, &blocks));
  EXPECT_TRUE(pool.Allocate(3, &blocks));

  EXPECT_THAT(blocks, SizeIs(5));
  EXPECT_THAT(std::set<std::int32_t>(blocks.begin(), blocks.end()), SizeIs(5));
  for (std::int32_t id : blocks) EXPECT_EQ(pool.use_count(id), 1);
  EXPECT_EQ(pool.num_free(), 0);
}

TEST(BlockPool, AllocatesAllOrNothing) {
  BlockPool pool(3);
  std::vector<std::int32_t> blocks;

  EXPECT_FALSE(pool.Allocate(4, &blocks));

  EXPECT_THAT(blocks, IsEmpty());
  EXPECT_EQ(pool.num_free(), 3);
  EXPECT_TRUE(pool.Allocate(0, &blocks));
}

TEST(BlockPool, FreesASharedBlockWithItsLastUser) {
  BlockPool pool(3);
  std::vector<std::int32_t> blocks;
  ASSERT_TRUE(pool.Allocate(2, &blocks));

  pool.Share(blocks);
  pool.Release(blocks);
  EXPECT_EQ(pool.num_used(), 2);
  EXPECT_EQ(pool.use_count(blocks[0]), 1);
  pool.Release(blocks);

  EXPECT_EQ(pool.num_used(), 0);
  EXPECT_EQ(pool.use_count(blocks[0]), 0);
}

TEST(BlockPool, GivesOutTheBlockThatWasReleasedLast) {
  BlockPool pool(4);
  std::vector<std::int32_t> blocks;
  ASSERT_TRUE(pool.Allocate(3, &blocks));
  pool.Release({blocks[1]});

  std::vector<std::int32_t> next;
  ASSERT_TRUE(pool.Allocate(1, &next));

  EXPECT_EQ(next[0], blocks[1]);
}

void CheckAccounts(const BlockPool& pool,
                   const std::vector<std::vector<std::int32_t>>& users) {
  std::vector<int> counts(static_cast<std::size_t>(pool.num_blocks()));
  for (const auto& blocks : users) {
    for (std::int32_t id : blocks) ++counts[static_cast<std::size_t>(id)];
  }
  int num_used = 0;
  for (std::int32_t id = 0; id < pool.num_blocks(); ++id) {
    const int count = counts[static_cast<std::size_t>(id)];
    ASSERT_EQ(pool.use_count(id), count);
    if (count > 0) ++num_used;
  }
  ASSERT_EQ(pool.num_used(), num_used);
}

void UseAtRandom(std::mt19937* random, BlockPool* pool,
                 std::vector<std::vector<std::int32_t>>* users) {
  const unsigned choice = (*random)() % 3;
  if (choice == 0) {
    std::vector<std::int32_t> blocks;
    const auto count = static_cast<std::int32_t>((*random)() % 5);
    if (pool->Allocate(count, &blocks)) users->push_back(blocks);
  } else if (choice == 1 && !users->empty()) {
    pool->Share(users->front());
    users->push_back(users->front());
  } else if (!users->empty()) {
    pool->Release(users->back());
    users->pop_back();
  }
}

TEST(BlockPool, KeepsItsAccountsThroughRandomUse) {
  BlockPool pool(16);
  std::mt19937 random(1);
  std::vector<std::vector<std::int32_t>> users;
  for (int i = 0; i < 5000 && !testing::Test::HasFailure(); ++i) {
    UseAtRandom(&random, &pool, &users);
    CheckAccounts(pool, users);
  }
}

}  // namespace
}  // namespace stepd
