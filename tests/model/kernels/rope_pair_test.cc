// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/kernels/rope_pair.h"

#include <cmath>
#include <cstdint>
#include <vector>

#include "gtest/gtest.h"

namespace stepd::kernels {
namespace {

TEST(RopePair, CoversEveryElementOnceInBothPairings) {
  for (const RopePairing pairing :
       {RopePairing::kHalfSplit, RopePairing::kInterleaved}) {
    std::vector<int> seen(10, 0);
    for (std::int64_t i = 0; i < 5; ++i) {
      const RopePair pair = FindRopePair(pairing, i, 5);
      ++seen[static_cast<std::size_t>(pair.first)];
      ++seen[static_cast<std::size_t>(pair.second)];
    }
    EXPECT_EQ(seen, std::vector<int>(10, 1));
  }
  EXPECT_EQ(FindRopePair(RopePairing::kHalfSplit, 2, 5).second, 7);
  EXPECT_EQ(FindRopePair(RopePairing::kInterleaved, 2, 5).first, 4);
}

TEST(RopePair, TurnsByTheAngle) {
  float x = 1.0F;
  float y = 0.0F;

  Turn(std::cos(0.5F), std::sin(0.5F), &x, &y);
  Turn(std::cos(0.25F), std::sin(0.25F), &x, &y);

  EXPECT_NEAR(x, std::cos(0.75F), 1e-6F);
  EXPECT_NEAR(y, std::sin(0.75F), 1e-6F);
}

}  // namespace
}  // namespace stepd::kernels
