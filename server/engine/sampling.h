// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// How an action is chosen from scores.
//
// Draws are counter-based: a function of (seed, actor, step index) and of the
// scores, so that a step that is replayed, retried or rebuilt anywhere draws
// the same action.
//
// Source: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers:
// as easy as 1, 2, 3", SC 2011).
//
// Thread safety: pure functions.

#ifndef STEPD_SERVER_ENGINE_SAMPLING_H_
#define STEPD_SERVER_ENGINE_SAMPLING_H_

#include <array>
#include <cstdint>

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

struct SampledAction {
  std::int64_t action = 0;
  float log_prob = 0.0F;  // under the distribution that it was drawn from
};

// Temperature 0: the first maximum, where NaN counts as the maximum (as
// torch.argmax does), with log-probability 0. Else one draw by inverse CDF from
// softmax((scores - max) / temperature), summed in index order in float64.
// Only the first `params.num_actions` scores count. `params.seed` is not used.
//
// REQUIRES: scores are not empty; params hold as documented.
// Errors: kInternal  SCORES: a score is NaN or +infinity, or all are
//                    -infinity, and the temperature is not 0
absl::StatusOr<SampledAction> SampleAction(absl::Span<const float> scores,
                                           const SamplingParams& params,
                                           const DrawId& id);

}  // namespace stepd

#endif  // STEPD_SERVER_ENGINE_SAMPLING_H_
