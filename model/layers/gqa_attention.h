// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Grouped-query attention over a paged KV cache (arXiv:2305.13245, 2309.06180).
//
// Thread safety: thread-safe once built.

#ifndef STEPD_MODEL_LAYERS_GQA_ATTENTION_H_
#define STEPD_MODEL_LAYERS_GQA_ATTENTION_H_

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

class GqaAttention {
 public:
  GqaAttention(const GqaConfig& config, const kernels::KernelSet& kernels,
               int tokens_per_block);

  KvCacheSpec cache_spec() const;
  // Scratch floats for `num_tokens` rows.
  std::int64_t ScratchSize(std::int64_t num_tokens) const;

  // residual += attention(x); x [N, D] is normed already. Appends the new
  // tokens' keys and values to the slot, unless rows attend by patterns.
  void AddTo(const kernels::KernelSet& kernels, const AttentionInputs& inputs,
             const float* x, float* residual) const;

 private:
  // The weights that the tokens of one bank meet.
  struct Bank {
    std::unique_ptr<kernels::PackedLinear> qkv;  // [H + 2G heads, D]
    std::unique_ptr<kernels::PackedLinear> o;    // [D, H heads]
    std::optional<Norm> q_norm;
    std::optional<Norm> k_norm;
  };

  std::int64_t dim() const { return banks_.front().qkv->in_dim(); }
  std::int64_t qkv_dim() const { return banks_.front().qkv->out_dim(); }
  std::int64_t mixed_dim() const { return banks_.front().o->in_dim(); }
  // The query or key heads of `num_tokens` rows of qkv_dim() from `qkv` on.
  kernels::HeadRows QueryHeads(float* qkv, std::int64_t num_tokens) const;
  kernels::HeadRows KeyHeads(float* qkv, std::int64_t num_tokens) const;

  // Appends keys and values of the rows qkv [N, qkv_dim()], then attends.
  void AttendToPast(const kernels::KernelSet& kernels,
                    const AttentionInputs& inputs, const float* qkv,
                    float* mixed) const;

  kernels::AttentionShape shape_;
  std::int64_t window_left_;
  float softmax_scale_;
  bool has_rope_;
  std::vector<Bank> banks_;
};

}  // namespace stepd

#endif  // STEPD_MODEL_LAYERS_GQA_ATTENTION_H_
