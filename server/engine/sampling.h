// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The distribution that an action is drawn from, and the draw. The definitions
// are those of docs/rl.md.
//
// Draws are counter-based: a function of (seed, actor, step index) and of the
// distribution, so that a step that is replayed, retried or rebuilt anywhere
// draws the same action.
//
// Source: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers:
// as easy as 1, 2, 3", SC 2011).
//
// Thread safety: pure functions and plain values.

#ifndef STEPD_SERVER_ENGINE_SAMPLING_H_
#define STEPD_SERVER_ENGINE_SAMPLING_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/engine/step_task.h"

namespace stepd {

// Ten rounds of Philox over four 32-bit words.
std::array<std::uint32_t, 4> Philox4x32(std::array<std::uint32_t, 4> counter,
                                        std::array<std::uint32_t, 2> key);

// Which random number a draw uses: the key is `seed`; the counter is
// (step_index, actor_hash), 64 bits each, so no two steps share a number.
struct DrawId {
  std::uint64_t seed = 0;
  std::uint64_t actor_hash = 0;  // StableHash(actor_id)
  std::uint64_t step_index = 0;  // steps of the session before this one
};

// 53 random bits in [0, 1).
double UniformDraw(const DrawId& id);

// What SamplingParams make of one row of scores [A]. Actions whose score is
// not looked at (beyond num_actions, masked) are no candidates. Everything is
// computed in float64, summed in the order of the actions.
//
// It borrows scores and mask. Nothing is allocated but for top_k.
class ActionDistribution {
 public:
  // `mask` [A], 0 = not allowed; empty: every action is. `params.seed` is not
  // used.
  //
  // REQUIRES: there is a candidate; params hold as documented.
  // Errors: kInternal  SCORES: a candidate's score is NaN or +infinity, or
  //                    all are -infinity, and the temperature is not 0
  static absl::StatusOr<ActionDistribution> Create(
      absl::Span<const float> scores, absl::Span<const std::uint8_t> mask,
      const SamplingParams& params);

  // One draw by the inverse of the cumulative distribution.
  std::int64_t Draw(const DrawId& id) const;

  // Of any action of the row; -infinity for one that is never drawn.
  double LogProb(std::int64_t action) const;
  // 0 <= probability <= 1.
  double Prob(std::int64_t action) const;
  // In nats.
  double Entropy() const;

 private:
  ActionDistribution(absl::Span<const float> scores,
                     absl::Span<const std::uint8_t> mask,
                     const SamplingParams& params);

  bool IsCandidate(std::size_t action) const {
    return mask_.empty() || mask_[action] != 0;
  }
  bool IsKept(std::size_t action) const {
    return IsCandidate(action) &&
           (scores_[action] > lowest_kept_ ||
            (scores_[action] == lowest_kept_ && action <= last_kept_));
  }
  void FindBest();
  void KeepTop(std::size_t count);
  void SumWeights();
  double Logit(std::size_t action) const {
    return (static_cast<double>(scores_[action]) - max_) / temperature_;
  }
  // Unnormalised probabilities: without epsilon, and with it.
  double BaseWeight(std::size_t action) const;
  double Weight(std::size_t action) const;

  absl::Span<const float> scores_;  // of the first num_actions
  absl::Span<const std::uint8_t> mask_;
  double temperature_ = 0.0;
  double epsilon_ = 0.0;
  std::size_t best_ = 0;  // the first maximum among the candidates
  double max_ = 0.0;      // its score
  // Of equal scores at the edge of the top_k, the first ones are kept.
  float lowest_kept_ = -std::numeric_limits<float>::infinity();
  std::size_t last_kept_ = std::numeric_limits<std::size_t>::max();
  double sum_ = 1.0;      // of either kind of weight
  double uniform_ = 0.0;  // weight that epsilon gives to every candidate
};

}  // namespace stepd

#endif  // STEPD_SERVER_ENGINE_SAMPLING_H_
