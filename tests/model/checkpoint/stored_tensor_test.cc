// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/stored_tensor.h"

#include <cstdint>
#include <limits>
#include <optional>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace stepd::checkpoint {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();

TEST(StoredTensor, CountsElements) {
  EXPECT_EQ(NumElements({}), 1);
  EXPECT_EQ(NumElements({2, 3, 4}), 24);
  EXPECT_EQ(NumElements({2, 0, 4}), 0);
  EXPECT_EQ(NumElements({kMax}), kMax);
}

TEST(StoredTensor, DoesNotCountWhatOverflows) {
  EXPECT_EQ(NumElements({-1}), std::nullopt);
  EXPECT_EQ(NumElements({kMax, 2}), std::nullopt);
  EXPECT_EQ(NumElements({kMax, 2, 0}), std::nullopt);
  EXPECT_EQ(NumElements({0, -1}), std::nullopt);
}

TEST(StoredTensor, GivesRowMajorStrides) {
  EXPECT_THAT(RowMajorStrides({}), IsEmpty());
  EXPECT_THAT(RowMajorStrides({5}), ElementsAre(1));
  EXPECT_THAT(RowMajorStrides({2, 3, 4}), ElementsAre(12, 4, 1));
  EXPECT_THAT(RowMajorStrides({2, 0, 4}), ElementsAre(4, 4, 1));
}

}  // namespace
}  // namespace stepd::checkpoint
