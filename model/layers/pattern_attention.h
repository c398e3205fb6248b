// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Attention by patterns: groups of rows attend to groups of rows, in both
// directions and without a cache. For bidirectional stacks over whole inputs;
// sessions are served by the causal attention over their blocks.
//
// Thread safety: reentrant.

#ifndef STEPD_MODEL_LAYERS_PATTERN_ATTENTION_H_
#define STEPD_MODEL_LAYERS_PATTERN_ATTENTION_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "model/kernels/kernel_set.h"

namespace stepd {

// Every query attends to every key. Rows of the batch; the order of keys makes
// no difference to what is meant.
struct AttentionPattern {
  std::vector<std::int32_t> queries;
  std::vector<std::int32_t> keys;  // at least one
};

struct PatternAttentionParams {
  absl::Span<const AttentionPattern> patterns;
  kernels::AttentionShape shape;
  // [N, H + 2G heads]: queries, keys and values of a row, rotated already.
  const float* qkv = nullptr;
  float softmax_scale = 0.0F;
  float* out = nullptr;  // [N, H, V]
};

// Writes the rows of `out` that are queries. Allocates.
void AttendByPatterns(const kernels::KernelSet& kernels,
                      const PatternAttentionParams& params);

}  // namespace stepd

#endif  // STEPD_MODEL_LAYERS_PATTERN_ATTENTION_H_
