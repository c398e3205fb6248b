// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/observer.h"

#include <set>

#include "gtest/gtest.h"

namespace stepd {
namespace {

TEST(Observer, NamesFireReasonsAndSessionEndsDifferently) {
  std::set<absl::string_view> names;
  for (FireReason reason :
       {FireReason::kIdle, FireReason::kAllArrived, FireReason::kFull,
        FireReason::kWaited, FireReason::kDeadline, FireReason::kDraining}) {
    names.insert(Name(reason));
  }
  EXPECT_EQ(names.size(), 6U);

  EXPECT_EQ(Name(SessionEnd::kExpired), "expired");
  EXPECT_EQ(Name(SessionEnd::kEvictedBlocks), "evicted_blocks");
  EXPECT_EQ(Name(SessionEnd::kReset), "reset");
}

}  // namespace
}  // namespace stepd
