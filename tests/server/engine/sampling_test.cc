// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/sampling.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "server/common/error.h"

namespace stepd {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

using Scores = std::vector<float>;
using Mask = std::vector<std::uint8_t>;

SamplingParams AtTemperature(float temperature) {
  SamplingParams params;
  params.temperature = temperature;
  return params;
}

struct Sampled {
  std::int64_t action = 0;
  float log_prob = 0.0F;
};
Sampled Sample(const Scores& scores, const SamplingParams& params,
               const DrawId& id = {}, const Mask& mask = {}) {
  const ActionDistribution distribution =
      ActionDistribution::Create(scores, mask, params).value();
  const std::int64_t action = distribution.Draw(id);
  return {action, static_cast<float>(distribution.LogProb(action))};
}

// What docs/rl.md says, by sorting and in plain sums.
std::vector<double> Expected(const Scores& scores, const Mask& mask,
                             const SamplingParams& params) {
  std::vector<std::size_t> candidates;
  const std::int64_t num_scores =
      params.num_actions.value_or(std::int64_t(scores.size()));
  for (std::size_t a = 0; a < std::size_t(num_scores); ++a) {
    if (mask.empty() || mask[a] != 0) candidates.push_back(a);
  }
  std::vector<std::size_t> kept = candidates;
  std::stable_sort(kept.begin(), kept.end(), [&](std::size_t a, std::size_t b) {
    return scores[a] > scores[b];
  });
  const bool is_greedy = params.temperature == 0.0F;
  const std::size_t num_kept =
      is_greedy ? 1 : std::size_t(params.top_k.value_or(kept.size()));
  kept.resize(std::min(kept.size(), num_kept));

  std::vector<double> probs(scores.size());
  double sum = 0;
  for (std::size_t a : kept) {
    probs[a] = is_greedy ? 1 : std::exp(double(scores[a]) / params.temperature);
    sum += probs[a];
  }
  for (double& prob : probs) prob *= (1 - double(params.epsilon)) / sum;
  for (std::size_t a : candidates) {
    probs[a] += double(params.epsilon) / double(candidates.size());
  }
  return probs;
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
  const Sampled sampled = Sample(GetParam().scores, AtTemperature(0));

  EXPECT_EQ(sampled.action, GetParam().best);
  EXPECT_EQ(sampled.log_prob, 0.0F);
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

TEST(ActionDistribution, KeepsTheFirstNumActionsOnly) {
  SamplingParams params = AtTemperature(0);
  params.num_actions = 2;
  EXPECT_EQ(Sample({1, 2, 9}, params).action, 1);

  params.temperature = 1.0F;
  for (std::uint64_t i = 0; i < 50; ++i) {
    EXPECT_LT(Sample({1, 2, 99}, params, {1, 2, i}).action, 2);
  }
}

TEST(ActionDistribution, TakesTheBestOfWhatTheMaskAllows) {
  EXPECT_EQ(Sample({9, 2, 5, 5}, AtTemperature(0), {}, {0, 1, 1, 1}).action, 2);
  EXPECT_EQ(Sample({kNan, 2}, AtTemperature(0), {}, {0, 1}).action, 1);
  EXPECT_EQ(Sample({kNan, 2}, AtTemperature(1), {}, {0, 1}).action, 1);
}

TEST(ActionDistribution, KeepsTheFirstOfEqualScoresAtTheEdgeOfTopK) {
  SamplingParams params = AtTemperature(1);
  params.top_k = 3;
  const Scores scores = {1, 2, 1, 3, 1};

  const ActionDistribution distribution =
      ActionDistribution::Create(scores, {}, params).value();

  EXPECT_GT(distribution.Prob(0), 0.0);
  EXPECT_GT(distribution.Prob(1), 0.0);
  EXPECT_EQ(distribution.Prob(2), 0.0);
  EXPECT_GT(distribution.Prob(3), 0.0);
  EXPECT_EQ(distribution.Prob(4), 0.0);
}

// What chi-square exceeds with a chance of 1e-4, by Wilson and Hilferty.
double Quantile(int degrees) {
  if (degrees == 0) return 0.0;
  const double spread = 2.0 / (9.0 * degrees);
  return degrees * std::pow(1 - spread + 3.719 * std::sqrt(spread), 3);
}

struct MixedCase {
  const char* name;
  float temperature;
  std::int64_t top_k;  // 0: all
  float epsilon;
  std::int64_t num_actions;  // 0: all
  bool is_masked;
};

class MixedTest : public testing::TestWithParam<MixedCase> {
 protected:
  static SamplingParams Params() {
    SamplingParams params = AtTemperature(GetParam().temperature);
    params.epsilon = GetParam().epsilon;
    if (GetParam().top_k > 0) params.top_k = GetParam().top_k;
    if (GetParam().num_actions > 0) params.num_actions = GetParam().num_actions;
    return params;
  }
  // Equal scores among them.
  const Scores scores_ = {0.5F, -1.0F, 2.0F, 0.5F, 1.0F, -0.25F, 0.5F, 1.5F};
  const Mask mask_ =
      GetParam().is_masked ? Mask{1, 1, 0, 1, 1, 0, 1, 1} : Mask{};
};

TEST_P(MixedTest, HasTheProbabilitiesOfItsDefinition) {
  const std::vector<double> want = Expected(scores_, mask_, Params());

  const ActionDistribution distribution =
      ActionDistribution::Create(scores_, mask_, Params()).value();

  double entropy = 0;
  double sum = 0;
  for (std::size_t a = 0; a < want.size(); ++a) {
    EXPECT_NEAR(distribution.Prob(std::int64_t(a)), want[a], 1e-14) << a;
    if (want[a] > 0) entropy -= want[a] * std::log(want[a]);
    sum += distribution.Prob(std::int64_t(a));
  }
  EXPECT_NEAR(sum, 1.0, 1e-14);
  EXPECT_NEAR(distribution.Entropy(), entropy, 1e-13);
}

// Pearson's statistic, fixed seeds: no action is drawn that must not be, and
// the others as often as their probabilities say.
TEST_P(MixedTest, IsDrawnFromAsItSays) {
  const ActionDistribution distribution =
      ActionDistribution::Create(scores_, mask_, Params()).value();
  constexpr int kNumDraws = 40000;
  std::vector<int> counts(scores_.size());
  for (std::uint64_t i = 0; i < kNumDraws; ++i) {
    ++counts[std::size_t(distribution.Draw({11, 12, i}))];
  }

  double chi_square = 0;
  int degrees = -1;
  for (std::size_t a = 0; a < counts.size(); ++a) {
    const double want = distribution.Prob(std::int64_t(a)) * kNumDraws;
    if (want == 0) {
      EXPECT_EQ(counts[a], 0) << a;
      continue;
    }
    chi_square += (counts[a] - want) * (counts[a] - want) / want;
    ++degrees;
  }
  EXPECT_LE(chi_square, Quantile(degrees));
}

TEST_P(MixedTest, GivesTheLogOfTheProbabilityToTheBit) {
  const ActionDistribution distribution =
      ActionDistribution::Create(scores_, mask_, Params()).value();
  for (std::int64_t a = 0; a < std::int64_t(scores_.size()); ++a) {
    EXPECT_EQ(static_cast<float>(distribution.LogProb(a)),
              static_cast<float>(std::log(distribution.Prob(a))))
        << a;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Settings, MixedTest,
    testing::Values(MixedCase{"Greedy", 0, 0, 0, 0, false},
                    MixedCase{"Softmax", 1.7F, 0, 0, 0, false},
                    MixedCase{"TopK", 1, 3, 0, 0, false},
                    MixedCase{"TopKOfTies", 1, 5, 0, 0, false},
                    MixedCase{"MoreThanThereAre", 1, 99, 0, 0, false},
                    MixedCase{"EpsilonGreedy", 0, 0, 0.1F, 0, false},
                    MixedCase{"Uniform", 0, 0, 1, 0, false},
                    MixedCase{"NumActions", 0.5F, 0, 0, 5, false},
                    MixedCase{"Masked", 1, 0, 0, 0, true},
                    MixedCase{"MaskedGreedy", 0, 0, 0, 0, true},
                    MixedCase{"MaskedTopK", 1, 2, 0, 0, true},
                    MixedCase{"MaskedEpsilonGreedy", 0, 0, 0.3F, 0, true},
                    MixedCase{"Everything", 0.7F, 3, 0.2F, 7, true}),
    [](const auto& info) { return std::string(info.param.name); });

// Random settings of everything, many times over.
TEST(ActionDistribution, AgreesWithItsDefinitionWhateverIsComposed) {
  std::mt19937_64 random(3);
  const auto below = [&](std::uint64_t n) {
    return std::int64_t(random() % n);
  };
  for (int round = 0; round < 2000; ++round) {
    const std::int64_t num_actions = 1 + below(12);
    Scores scores;
    Mask mask;
    for (std::int64_t a = 0; a < num_actions; ++a) {
      scores.push_back(static_cast<float>(below(7)) * 0.5F);  // many are equal
      mask.push_back(a == 0 || below(2) == 0 ? 1 : 0);
    }
    if (below(2) == 0) mask.clear();
    SamplingParams params = AtTemperature(static_cast<float>(below(4)) * 0.5F);
    params.epsilon = static_cast<float>(below(3)) * 0.25F;
    if (below(2) == 0) params.top_k = 1 + below(12);
    if (below(2) == 0)
      params.num_actions = 1 + below(std::uint64_t(num_actions));
    const ActionDistribution distribution =
        ActionDistribution::Create(scores, mask, params).value();

    const std::vector<double> want = Expected(scores, mask, params);

    for (std::int64_t a = 0; a < num_actions; ++a) {
      ASSERT_NEAR(distribution.Prob(a), want[std::size_t(a)], 1e-14);
    }
    const std::int64_t drawn = distribution.Draw({1, 2, std::uint64_t(round)});
    ASSERT_GT(want[std::size_t(drawn)], 0.0);
  }
}

TEST(ActionDistribution, FollowsTheInverseOfTheCumulativeDistribution) {
  for (std::uint64_t i = 0; i < 200; ++i) {
    const DrawId id = {3, 4, i};

    EXPECT_EQ(Sample({0, 0, 0, 0}, AtTemperature(1), id).action,
              static_cast<std::int64_t>(UniformDraw(id) * 4));
  }
}

TEST(ActionDistribution, DrawsTheSameForTheSameId) {
  const Scores scores = {0.1F, 0.2F, 0.3F};
  for (std::uint64_t i = 0; i < 20; ++i) {
    const Sampled first = Sample(scores, AtTemperature(2), {1, 2, i});
    const Sampled again = Sample(scores, AtTemperature(2), {1, 2, i});
    EXPECT_EQ(first.action, again.action);
    EXPECT_EQ(first.log_prob, again.log_prob);
  }
}

TEST(ActionDistribution, NeverDrawsMinusInfinity) {
  for (std::uint64_t i = 0; i < 200; ++i) {
    EXPECT_EQ(Sample({-kInf, 1, -kInf}, AtTemperature(1), {5, 5, i}).action, 1);
  }
}

TEST(ActionDistribution, SurvivesExtremeTemperatures) {
  const Scores scores = {-3e38F, 3e38F, 0};
  const float tiny = std::numeric_limits<float>::denorm_min();
  for (std::uint64_t i = 0; i < 50; ++i) {
    EXPECT_EQ(Sample(scores, AtTemperature(tiny), {0, 0, i}).action, 1);
    EXPECT_NEAR(Sample({1, 2}, AtTemperature(3e38F), {0, 0, i}).log_prob,
                std::log(0.5), 1e-6);
  }
}

TEST(ActionDistribution, KnowsLogProbsWhoseProbabilityIsBelowAnyDouble) {
  const Scores scores = {0, -5000};

  const ActionDistribution distribution =
      ActionDistribution::Create(scores, {}, AtTemperature(1)).value();

  EXPECT_EQ(distribution.Prob(1), 0.0);
  EXPECT_EQ(distribution.LogProb(1), -5000.0);
}

TEST(ActionDistribution, GivesMinusInfinityForWhatIsNeverDrawn) {
  SamplingParams params = AtTemperature(1);
  params.num_actions = 2;
  const Scores scores = {1, 2, 3};
  const Mask mask = {0, 1, 1};

  const ActionDistribution distribution =
      ActionDistribution::Create(scores, mask, params).value();

  EXPECT_EQ(distribution.LogProb(0), -kInf);
  EXPECT_EQ(distribution.LogProb(1), 0.0);
  EXPECT_EQ(distribution.LogProb(2), -kInf);
}

TEST(ActionDistribution, RefusesScoresThatAreNoDistribution) {
  const std::vector<Scores> bad = {
      {1, kNan}, {kInf, 0}, {-kInf, -kInf}, {kNan}};
  for (const Scores& scores : bad) {
    const absl::Status status =
        ActionDistribution::Create(scores, {}, AtTemperature(1)).status();

    EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
    EXPECT_EQ(ReasonOf(status), reason::kScores);
  }
}

}  // namespace
}  // namespace stepd
