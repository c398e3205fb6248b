// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tools/bench_cc/raw_forward.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <memory>
#include <vector>

#include "tests/fakes/fake_policy.h"

namespace stepd::bench {
namespace {

using testing::IsEmpty;

RawForwardOptions Options(int actors, int threads) {
  RawForwardOptions options;
  options.num_actors = actors;
  options.num_threads = threads;
  options.episode_steps = 8;
  return options;
}

// The fake finds every wrong position, block and step.
TEST(RawForwardTest, SessionsGoOnThroughTheirEpisodes) {
  FakePolicyOptions fake;
  fake.max_tokens_per_step = 3;
  FakePolicy policy(fake);
  const auto raw = RawForward::Create(&policy, Options(4, 1));
  ASSERT_TRUE(raw.ok()) << raw.status();
  // Positions 2, 4 and 6; the first session starts empty.
  ASSERT_EQ(policy.forwards().size(), 3U);
  while (policy.forwards().size() < 3 + 20) {  // more than two episodes
    const auto result = (*raw)->Run(absl::Milliseconds(1));
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->batch, 4.0);
    EXPECT_GT(result->steps_per_second, 0.0);
    EXPECT_GT(result->forward_seconds, 0.0);
  }
  const auto forwards = policy.forwards();
  for (std::size_t i = 3; i < forwards.size(); ++i) {
    EXPECT_EQ(forwards[i].num_slices, 4);
    EXPECT_EQ(forwards[i].num_rows, 4);
  }
  EXPECT_THAT(policy.violations(), IsEmpty());
}

TEST(RawForwardTest, ThreadsShareTheSessions) {
  FakePolicy policy;
  const auto raw = RawForward::Create(&policy, Options(4, 2));
  ASSERT_TRUE(raw.ok()) << raw.status();
  const auto result = (*raw)->Run(absl::Milliseconds(1));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->batch, 2.0);
  EXPECT_THAT(policy.violations(), IsEmpty());
}

TEST(RawForwardTest, OneSessionTakesOneThread) {
  FakePolicy policy;
  const auto raw = RawForward::Create(&policy, Options(1, 2));
  ASSERT_TRUE(raw.ok()) << raw.status();
  const auto result = (*raw)->Run(absl::Milliseconds(1));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->batch, 1.0);
}

TEST(RawForwardTest, AFailedForwardEndsIt) {
  FakePolicy policy;
  policy.FailForwards([](std::int64_t forward) { return forward == 3; });
  const auto raw = RawForward::Create(&policy, Options(4, 1));
  ASSERT_TRUE(raw.ok()) << raw.status();
  EXPECT_EQ((*raw)->Run(absl::Milliseconds(1)).status().code(),
            absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace stepd::bench
