// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/sampling.h"

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "server/common/error.h"

namespace stepd {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

SamplingParams AtTemperature(float temperature) {
  SamplingParams params;
  params.temperature = temperature;
  return params;
}

// The known answers that the authors publish with Random123.
TEST(Philox, GivesThePublishedAnswers) {
  using Words = std::array<std::uint32_t, 4>;
  EXPECT_EQ(Philox4x32({0, 0, 0, 0}, {0, 0}),
            (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
                       {0xffffffff, 0xffffffff}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
                       {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(UniformDraw, IsInRangeAndDependsOnEveryPartOfItsId) {
  std::set<double> draws;
  for (std::uint64_t bit = 0; bit < 64; ++bit) {
    const std::uint64_t x = std::uint64_t{1} << bit;
    draws.insert(UniformDraw({x, 0, 0}));
    draws.insert(UniformDraw({0, x, 0}));
    draws.insert(UniformDraw({0, 0, x}));
  }

  EXPECT_EQ(draws.size(), 3U * 64U);
  EXPECT_GE(*draws.begin(), 0.0);
  EXPECT_LT(*draws.rbegin(), 1.0);
}

TEST(UniformDraw, UsesTheFirstTwoWordsOfPhilox) {
  // All zero: words 6627e8d5 e169c58d, upper 53 bits of their concatenation.
  EXPECT_EQ(UniformDraw({0, 0, 0}),
            std::ldexp(static_cast<double>(0x6627e8d5e169c58dULL >> 11), -53));
}

struct GreedyCase {
  const char* name;
  std::vector<float> scores;
  std::int64_t best;
};

class GreedyTest : public testing::TestWithParam<GreedyCase> {};

TEST_P(GreedyTest, TakesTheFirstMaximumWithLogProbZero) {
  const absl::StatusOr<SampledAction> sampled =
      SampleAction(GetParam().scores, AtTemperature(0), {});

  ASSERT_TRUE(sampled.ok());
  EXPECT_EQ(sampled->action, GetParam().best);
  EXPECT_EQ(sampled->log_prob, 0.0F);
}

INSTANTIATE_TEST_SUITE_P(
    Scores, GreedyTest,
    testing::Values(GreedyCase{"One", {3}, 0}, GreedyCase{"Last", {1, 2, 3}, 2},
                    GreedyCase{"FirstOfEqual", {1, 3, 3, 2}, 1},
                    GreedyCase{"NanIsMaximum", {9, kNan, kInf}, 1},
                    GreedyCase{"FirstNan", {kNan, kNan}, 0},
                    GreedyCase{"AllMinusInfinity", {-kInf, -kInf}, 0},
                    GreedyCase{"ZerosOfBothSigns", {-0.0F, 0.0F}, 0}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(SampleAction, KeepsTheFirstNumActionsOnly) {
  SamplingParams params = AtTemperature(0);
  params.num_actions = 2;
  EXPECT_EQ(SampleAction({1, 2, 9}, params, {})->action, 1);

  params.temperature = 1.0F;
  for (std::uint64_t i = 0; i < 50; ++i) {
    EXPECT_LT(SampleAction({1, 2, 99}, params, {1, 2, i})->action, 2);
  }
}

TEST(SampleAction, DrawsInProportionToTheSoftmaxAndReportsIt) {
  const std::vector<float> scores = {0.5F, -1.0F, 2.0F, 0.0F};
  const double temperature = 1.7;
  std::vector<double> probs;
  double sum = 0;
  for (float score : scores) sum += std::exp(score / temperature);
  for (float score : scores)
    probs.push_back(std::exp(score / temperature) / sum);

  constexpr int kNumDraws = 40000;
  std::vector<int> counts(4);
  for (std::uint64_t i = 0; i < kNumDraws; ++i) {
    const SampledAction sampled =
        *SampleAction(scores, AtTemperature(1.7F), {7, 8, i});
    const auto action = static_cast<std::size_t>(sampled.action);
    ++counts[action];
    EXPECT_NEAR(sampled.log_prob, std::log(probs[action]), 1e-6);
  }

  for (std::size_t a = 0; a < 4; ++a) {
    EXPECT_NEAR(counts[a] / double{kNumDraws}, probs[a], 0.01);
  }
}

TEST(SampleAction, FollowsTheInverseOfTheCumulativeDistribution) {
  for (std::uint64_t i = 0; i < 200; ++i) {
    const DrawId id = {3, 4, i};
    const SampledAction sampled =
        *SampleAction({0, 0, 0, 0}, AtTemperature(1), id);

    EXPECT_EQ(sampled.action, static_cast<std::int64_t>(UniformDraw(id) * 4));
  }
}

TEST(SampleAction, DrawsTheSameForTheSameId) {
  const std::vector<float> scores = {0.1F, 0.2F, 0.3F};
  for (std::uint64_t i = 0; i < 20; ++i) {
    const SampledAction first =
        *SampleAction(scores, AtTemperature(2), {1, 2, i});
    const SampledAction again =
        *SampleAction(scores, AtTemperature(2), {1, 2, i});
    EXPECT_EQ(first.action, again.action);
    EXPECT_EQ(first.log_prob, again.log_prob);
  }
}

TEST(SampleAction, NeverDrawsMinusInfinity) {
  for (std::uint64_t i = 0; i < 200; ++i) {
    EXPECT_EQ(
        SampleAction({-kInf, 1, -kInf}, AtTemperature(1), {5, 5, i})->action,
        1);
  }
}

TEST(SampleAction, SurvivesExtremeTemperatures) {
  const std::vector<float> scores = {-3e38F, 3e38F, 0};
  const float tiny = std::numeric_limits<float>::denorm_min();
  for (std::uint64_t i = 0; i < 50; ++i) {
    EXPECT_EQ(SampleAction(scores, AtTemperature(tiny), {0, 0, i})->action, 1);
    EXPECT_NEAR(SampleAction({1, 2}, AtTemperature(3e38F), {0, 0, i})->log_prob,
                std::log(0.5), 1e-6);
  }
}

TEST(SampleAction, RefusesScoresThatAreNoDistribution) {
  const std::vector<std::vector<float>> bad = {
      {1, kNan}, {kInf, 0}, {-kInf, -kInf}, {kNan}};
  for (const std::vector<float>& scores : bad) {
    const absl::Status status =
        SampleAction(scores, AtTemperature(1), {}).status();

    EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
    EXPECT_EQ(ReasonOf(status), reason::kScores);
  }
}

}  // namespace
}  // namespace stepd
