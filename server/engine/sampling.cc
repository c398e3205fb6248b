// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/sampling.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <functional>
#include <vector>

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

ActionDistribution::ActionDistribution(absl::Span<const float> scores,
                                       absl::Span<const std::uint8_t> mask,
                                       const SamplingParams& params)
    : scores_(scores),
      mask_(mask),
      temperature_(params.temperature),
      epsilon_(params.epsilon) {
  if (params.num_actions.has_value()) {
    scores_ = scores_.subspan(0, static_cast<std::size_t>(*params.num_actions));
  }
}

absl::StatusOr<ActionDistribution> ActionDistribution::Create(
    absl::Span<const float> scores, absl::Span<const std::uint8_t> mask,
    const SamplingParams& params) {
  ActionDistribution distribution(scores, mask, params);
  distribution.FindBest();
  if (params.temperature != 0.0F) {
    if (!std::isfinite(distribution.max_)) {
      return Error(absl::StatusCode::kInternal, reason::kScores,
                   "the policy's scores are not finite: nothing can be drawn "
                   "at a temperature above 0");
    }
    if (params.top_k.has_value()) {
      distribution.KeepTop(static_cast<std::size_t>(*params.top_k));
    }
  }
  distribution.SumWeights();
  return distribution;
}

// NaN is greater than everything.
void ActionDistribution::FindBest() {
  while (best_ < scores_.size() && !IsCandidate(best_)) ++best_;
  assert(best_ < scores_.size());
  for (std::size_t i = best_ + 1; i < scores_.size(); ++i) {
    if (std::isnan(scores_[best_])) break;
    if (!IsCandidate(i)) continue;
    if (std::isnan(scores_[i]) || scores_[i] > scores_[best_]) best_ = i;
  }
  max_ = scores_[best_];
}

void ActionDistribution::KeepTop(std::size_t count) {
  std::vector<float> candidates;
  candidates.reserve(scores_.size());
  for (std::size_t i = 0; i < scores_.size(); ++i) {
    if (IsCandidate(i)) candidates.push_back(scores_[i]);
  }
  if (count >= candidates.size()) return;
  const auto last_kept =
      candidates.begin() + static_cast<std::ptrdiff_t>(count) - 1;
  std::nth_element(candidates.begin(), last_kept, candidates.end(),
                   std::greater<>());
  lowest_kept_ = *last_kept;
  std::ptrdiff_t num_ties =
      std::count(candidates.begin(), last_kept + 1, lowest_kept_);
  for (last_kept_ = 0;; ++last_kept_) {
    if (!IsCandidate(last_kept_) || scores_[last_kept_] != lowest_kept_) {
      continue;
    }
    if (--num_ties == 0) return;
  }
}

void ActionDistribution::SumWeights() {
  if (temperature_ != 0.0) {
    sum_ = 0.0;
    for (std::size_t i = 0; i < scores_.size(); ++i) sum_ += BaseWeight(i);
  }
  if (epsilon_ == 0.0) return;
  std::int64_t num_candidates = 0;
  for (std::size_t i = 0; i < scores_.size(); ++i) {
    num_candidates += IsCandidate(i) ? 1 : 0;
  }
  uniform_ = epsilon_ * sum_ / static_cast<double>(num_candidates);
}

double ActionDistribution::BaseWeight(std::size_t action) const {
  if (temperature_ == 0.0) return action == best_ ? 1.0 : 0.0;
  return IsKept(action) ? std::exp(Logit(action)) : 0.0;
}

double ActionDistribution::Weight(std::size_t action) const {
  if (!IsCandidate(action)) return 0.0;
  return (1.0 - epsilon_) * BaseWeight(action) + uniform_;
}

// The weights are computed again instead of being stored: the same order gives
// the same bits, and nothing is allocated.
std::int64_t ActionDistribution::Draw(const DrawId& id) const {
  if (temperature_ == 0.0 && epsilon_ == 0.0) {
    return static_cast<std::int64_t>(best_);
  }
  const double target = UniformDraw(id) * sum_;
  double cumulative = 0.0;
  for (std::size_t i = 0; i < scores_.size(); ++i) {
    cumulative += Weight(i);
    if (cumulative > target) return static_cast<std::int64_t>(i);
  }
  return static_cast<std::int64_t>(best_);  // rounding put it at the very end
}

double ActionDistribution::Prob(std::int64_t action) const {
  const auto i = static_cast<std::size_t>(action);
  return i < scores_.size() ? Weight(i) / sum_ : 0.0;
}

double ActionDistribution::LogProb(std::int64_t action) const {
  const auto i = static_cast<std::size_t>(action);
  const bool is_tempered = epsilon_ == 0.0 && temperature_ != 0.0;
  if (!is_tempered || i >= scores_.size() || !IsKept(i)) {
    return std::log(Prob(action));
  }
  // Exact also where the probability is too small for a double.
  return Logit(i) - std::log(sum_);
}

double ActionDistribution::Entropy() const {
  double entropy = 0.0;
  for (std::size_t i = 0; i < scores_.size(); ++i) {
    const double prob = Prob(static_cast<std::int64_t>(i));
    if (prob > 0.0) entropy -= prob * LogProb(static_cast<std::int64_t>(i));
  }
  return entropy;
}

}  // namespace stepd
