// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/sampling.h"

#include <cassert>
#include <cmath>
#include <cstddef>

#include "server/common/error.h"

namespace stepd {
namespace {

constexpr std::uint32_t kMultiplier0 = 0xD2511F53;
constexpr std::uint32_t kMultiplier1 = 0xCD9E8D57;
constexpr std::uint32_t kWeyl0 = 0x9E3779B9;  // golden ratio
constexpr std::uint32_t kWeyl1 = 0xBB67AE85;  // sqrt(3) - 1
constexpr int kNumRounds = 10;

std::uint32_t Low(std::uint64_t x) { return static_cast<std::uint32_t>(x); }
std::uint32_t High(std::uint64_t x) {
  return static_cast<std::uint32_t>(x >> 32);
}

// Index of the first maximum; NaN is greater than everything.
std::size_t ArgMax(absl::Span<const float> scores) {
  std::size_t best = 0;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (std::isnan(scores[i])) return i;
    if (scores[i] > scores[best]) best = i;
  }
  return best;
}

}  // namespace

std::array<std::uint32_t, 4> Philox4x32(std::array<std::uint32_t, 4> counter,
                                        std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < kNumRounds; ++round) {
    const std::uint64_t product0 = std::uint64_t{kMultiplier0} * counter[0];
    const std::uint64_t product1 = std::uint64_t{kMultiplier1} * counter[2];
    counter = {High(product1) ^ counter[1] ^ key[0], Low(product1),
               High(product0) ^ counter[3] ^ key[1], Low(product0)};
    key[0] += kWeyl0;
    key[1] += kWeyl1;
  }
  return counter;
}

double UniformDraw(const DrawId& id) {
  const std::array<std::uint32_t, 4> random =
      Philox4x32({Low(id.step_index), High(id.step_index), Low(id.actor_hash),
                  High(id.actor_hash)},
                 {Low(id.seed), High(id.seed)});
  const std::uint64_t bits = std::uint64_t{random[0]} << 32 | random[1];
  return static_cast<double>(bits >> 11) * 0x1.0p-53;
}

absl::StatusOr<SampledAction> SampleAction(absl::Span<const float> scores,
                                           const SamplingParams& params,
                                           const DrawId& id) {
  if (params.num_actions.has_value()) {
    scores = scores.subspan(0, static_cast<std::size_t>(*params.num_actions));
  }
  assert(!scores.empty());
  const std::size_t best = ArgMax(scores);
  if (params.temperature == 0.0F) {
    return SampledAction{static_cast<std::int64_t>(best), 0.0F};
  }
  const double max = scores[best];
  if (!std::isfinite(max)) {
    return Error(absl::StatusCode::kInternal, reason::kScores,
                 "the policy's scores are not finite: nothing can be drawn at "
                 "a temperature above 0");
  }

  const double temperature = params.temperature;
  const auto logit = [&](std::size_t i) {
    return (static_cast<double>(scores[i]) - max) / temperature;
  };
  double sum = 0.0;
  for (std::size_t i = 0; i < scores.size(); ++i) sum += std::exp(logit(i));

  // The weights are computed again instead of being stored: the same order
  // gives the same bits, and nothing is allocated.
  const double target = UniformDraw(id) * sum;
  std::size_t drawn = best;  // if rounding puts `target` at the very end
  double cumulative = 0.0;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    cumulative += std::exp(logit(i));
    if (cumulative > target) {
      drawn = i;
      break;
    }
  }
  return SampledAction{static_cast<std::int64_t>(drawn),
                       static_cast<float>(logit(drawn) - std::log(sum))};
}

}  // namespace stepd
