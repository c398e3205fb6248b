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
#include <optional>
#include <vector>

#include "model/decoder/decoder_config.h"
#include "model/kernels/kernel_set.h"
#include "model/kv_cache/kv_cache.h"
#include "model/layers/attention_inputs.h"
#include "model/layers/norm.h"

namespace stepd {

// A session's source, before a layer has read it.
struct SourceRows {
  const float* x = nullptr;                      // [rows, D of the source]
  const kernels::BatchLayout* layout = nullptr;  // of the rows
  kernels::RopeRows rope;                        // of the layer's RopeConfig
  // Scale and shift of the source's norm, [D of the source] each, that the
  // session's condition sets; nullptr: it sets none.
  const float* modulation = nullptr;
};

class CrossAttention {
 public:
  CrossAttention(const CrossAttentionConfig& config,
                 const kernels::KernelSet& kernels, int tokens_per_block);

  // Of a row of the source.
  KvCacheSpec source_spec() const;
  // Scratch floats for `num_tokens` rows.
  std::int64_t ScratchSize(std::int64_t num_tokens) const;

  // Writes the keys and values of the source to the slot. Allocates.
  void ReadSource(const kernels::KernelSet& kernels, const SourceRows& rows,
                  const kernels::KvSlot& slot) const;

  // residual += attention(x) over inputs.sources; x [N, D] is normed already.
  void AddTo(const kernels::KernelSet& kernels, const AttentionInputs& inputs,
             const float* x, float* residual) const;

 private:
  kernels::AttentionShape shape_;
  float softmax_scale_;
  bool has_rope_;
  std::vector<std::unique_ptr<kernels::PackedLinear>> q_;  // [H heads, D]
  std::unique_ptr<kernels::PackedLinear> kv_;  // [2G heads, D of the source]
  std::vector<std::unique_ptr<kernels::PackedLinear>> o_;  // [D, H heads]
  std::optional<Norm> source_norm_;
};

}  // namespace stepd

#endif  // STEPD_MODEL_LAYERS_CROSS_ATTENTION_H_
