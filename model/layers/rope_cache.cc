// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/layers/rope_cache.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace stepd {

void RopeCache::Lookup(absl::Span<const std::int32_t> positions, float* cos,
                       float* sin) {
  if (positions.empty()) return;
  GrowTo(*std::max_element(positions.begin(), positions.end()) + 1);
  for (std::int32_t position : positions) {
    const std::int64_t at = position * half_dim();
    cos = std::copy_n(cos_.begin() + at, half_dim(), cos);
    sin = std::copy_n(sin_.begin() + at, half_dim(), sin);
  }
}

void RopeCache::GrowTo(std::int64_t num_positions) {
  const auto have = static_cast<std::int64_t>(cos_.size()) /
                    std::max<std::int64_t>(half_dim(), 1);
  if (num_positions <= have) return;
  const std::int64_t want = std::max(num_positions, 2 * have);
  cos_.reserve(static_cast<std::size_t>(want * half_dim()));
  sin_.reserve(static_cast<std::size_t>(want * half_dim()));
  for (std::int64_t position = have; position < want; ++position) {
    for (float frequency : config_.inverse_frequencies) {
      // The angle is rounded to float32, as the originals do.
      const float angle = static_cast<float>(position) * frequency;
      cos_.push_back(std::cos(angle) * config_.attention_factor);
      sin_.push_back(std::sin(angle) * config_.attention_factor);
    }
  }
}

}  // namespace stepd
