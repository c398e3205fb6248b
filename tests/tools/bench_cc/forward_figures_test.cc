// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tools/bench_cc/forward_figures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "tools/bench_cc/random_checkpoint.h"
#include "tools/bench_cc/temporary_folder.h"

namespace stepd::bench {
namespace {

using testing::Each;
using testing::Gt;
using testing::SizeIs;

TEST(ForwardFiguresTest, EveryFigureHasAValueInEveryRound) {
  const auto folder = TemporaryFolder::Create();
  ASSERT_TRUE(folder.ok());
  const auto shape = FindPolicyShape("tiny");
  ASSERT_TRUE(WriteRandomCheckpoint(*shape, 1, (*folder)->path()).ok());
  ForwardOptions options;
  options.checkpoint = (*folder)->path();
  options.rounds = 2;
  options.seconds = 0.0;  // one forward each
  options.longest_context = 512;

  const auto figures = MeasureForward(options);

  ASSERT_TRUE(figures.ok()) << figures.status();
  int num_contexts = 0;
  for (const ForwardFigure& figure : *figures) {
    EXPECT_THAT(figure.rounds, SizeIs(2)) << figure.name;
    num_contexts += absl::StartsWith(figure.name, "forward ms") ? 1 : 0;
    // Differences of times of so small a policy may be anything.
    if (absl::StrContains(figure.name, "M = ")) {
      EXPECT_THAT(figure.rounds, Each(Gt(0.0))) << figure.name;
    }
  }
  EXPECT_EQ(num_contexts, 3);  // 128, 256, 512
  EXPECT_THAT(*figures, SizeIs(4 + 2 + 1 + 1 + 3 + 2 + 2));
}

TEST(ForwardFiguresTest, SaysWhatIsWrongWithTheCheckpoint) {
  ForwardOptions options;
  options.checkpoint = "/nowhere";
  EXPECT_EQ(MeasureForward(options).status().code(),
            absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace stepd::bench
