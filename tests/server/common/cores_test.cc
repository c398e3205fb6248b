// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/common/cores.h"

#include <sched.h>

#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace stepd {
namespace {

using ::testing::ElementsAre;

TEST(Cores, KeepsOneThreadOnACoreAndLeavesTheOthersAlone) {
  const std::vector<int> all = AllowedCores();
  ASSERT_FALSE(all.empty());

  std::thread([&] {
    EXPECT_TRUE(StayOn(all.back()));
    EXPECT_THAT(AllowedCores(), ElementsAre(all.back()));
    EXPECT_EQ(sched_getcpu(), all.back());
  }).join();

  EXPECT_EQ(AllowedCores(), all);
}

TEST(Cores, RefusesACoreThatIsNotThere) {
  const std::vector<int> all = AllowedCores();

  EXPECT_FALSE(StayOn(CPU_SETSIZE - 1));

  EXPECT_EQ(AllowedCores(), all);
}

}  // namespace
}  // namespace stepd
