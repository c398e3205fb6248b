// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Attention over the rows of a session's source, whose keys and values are
// computed once per session (arXiv:1706.03762, section 3.2.3).
//
// Thread safety: thread-safe once built.

#ifndef STEPD_MODEL_LAYERS_CROSS_ATTENTION_H_
#define STEPD_MODEL_LAYERS_CROSS_ATTENTION_H_

#include <cstdint>
#include <memory>

#include "model/decoder/decoder_config.h"
#include "model/kernels/kernel_set.h"
#include "model/kv_cache/kv_cache.h"
#include "model/layers/attention_inputs.h"

namespace stepd {

class CrossAttention {
 public:
  CrossAttention(const CrossAttentionConfig& config,
                 const kernels::KernelSet& kernels, int tokens_per_block);

  // Of a row of the source.
  KvCacheSpec source_spec() const;
  // Scratch floats for `num_tokens` rows.
  std::int64_t ScratchSize(std::int64_t num_tokens) const;

  // Writes the keys and values of rows [layout.num_tokens(), D of the source]
  // to the slot. Allocates.
  void ReadSource(const kernels::KernelSet& kernels, const float* rows,
                  const kernels::BatchLayout& layout,
                  const kernels::KvSlot& slot) const;

  // residual += attention(x) over inputs.sources; x [N, D] is normed already.
  void AddTo(const kernels::KernelSet& kernels, const AttentionInputs& inputs,
             const float* x, float* residual) const;

 private:
  kernels::AttentionShape shape_;
  float softmax_scale_;
  std::unique_ptr<kernels::PackedLinear> q_;   // [H heads, D]
  std::unique_ptr<kernels::PackedLinear> kv_;  // [2G heads, D of the source]
  std::unique_ptr<kernels::PackedLinear> o_;   // [D, H heads]
};

}  // namespace stepd

#endif  // STEPD_MODEL_LAYERS_CROSS_ATTENTION_H_
