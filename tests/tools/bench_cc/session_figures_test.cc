// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tools/bench_cc/session_figures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tools/bench_cc/random_checkpoint.h"
#include "tools/bench_cc/temporary_folder.h"

namespace stepd::bench {
namespace {

using testing::Each;
using testing::Gt;
using testing::SizeIs;

TEST(SessionFiguresTest, EveryFigureHasAValueInEveryRound) {
  const auto folder = TemporaryFolder::Create();
  ASSERT_TRUE(folder.ok());
  const auto shape = FindPolicyShape("tiny");
  ASSERT_TRUE(WriteRandomCheckpoint(*shape, 1, (*folder)->path()).ok());
  ForwardOptions options;
  options.checkpoint = (*folder)->path();
  options.rounds = 2;
  options.longest_context = 256;

  const auto figures = MeasureSessions(options);

  ASSERT_TRUE(figures.ok()) << figures.status();
  // Forks and resets, at 16 and 256 steps, median and largest.
  EXPECT_THAT(*figures, SizeIs(2 * 2 * 2));
  for (const ForwardFigure& figure : *figures) {
    EXPECT_THAT(figure.rounds, SizeIs(2)) << figure.name;
    EXPECT_THAT(figure.rounds, Each(Gt(0.0))) << figure.name;
  }
}

}  // namespace
}  // namespace stepd::bench
