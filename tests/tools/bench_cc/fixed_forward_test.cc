// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tools/bench_cc/fixed_forward.h"

#include <gtest/gtest.h>

#include "tests/fakes/fake_policy.h"

namespace stepd::bench {
namespace {

TEST(FixedForwardTest, RunsTheSameBatchAgain) {
  const FakePolicy policy;  // four tokens per block
  const auto forward = FixedForward::Create(&policy, {0, 5, 8});
  ASSERT_TRUE(forward.ok()) << forward.status();
  int num_written = 0;
  for (const auto& record : policy.forwards()) num_written += record.num_tokens;
  EXPECT_EQ(num_written, (1 + 2 + 3) * 4);

  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE((*forward)->Run().ok());
    EXPECT_EQ(policy.forwards().back().num_slices, 3);
    EXPECT_EQ(policy.forwards().back().num_tokens, 3);
  }
}

TEST(FixedForwardTest, RefusesStepsOfSeveralTokens) {
  FakePolicyOptions options;
  options.max_tokens_per_step = 3;
  const FakePolicy policy(options);
  EXPECT_EQ(FixedForward::Create(&policy, {1}).status().code(),
            absl::StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace stepd::bench
