// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Cosines and sines of rotary positions, computed once per position and kept.
//
// Thread safety: none; one runner owns it.

#ifndef STEPD_MODEL_LAYERS_ROPE_CACHE_H_
#define STEPD_MODEL_LAYERS_ROPE_CACHE_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "model/decoder/decoder_config.h"

namespace stepd {

class RopeCache {
 public:
  explicit RopeCache(const RopeConfig& config) : config_(config) {}

  std::int64_t half_dim() const {
    return static_cast<std::int64_t>(config_.inverse_frequencies.size());
  }

  // Fills cos and sin, host memory of [positions.size(), half_dim()].
  void Lookup(absl::Span<const std::int32_t> positions, float* cos, float* sin);

 private:
  void GrowTo(std::int64_t num_positions);

  RopeConfig config_;
  std::vector<float> cos_;  // [positions so far, half_dim]
  std::vector<float> sin_;
};

}  // namespace stepd

#endif  // STEPD_MODEL_LAYERS_ROPE_CACHE_H_
