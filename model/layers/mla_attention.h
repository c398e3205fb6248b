// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Multi-head latent attention as attention with one KV head over the cached
// latent (arXiv:2405.04434): kv_up is folded into query and output, so a token
// caches latent_dim + rope_dim numbers, whatever the number of heads.
//
// Thread safety: thread-safe once built.

#ifndef STEPD_MODEL_LAYERS_MLA_ATTENTION_H_
#define STEPD_MODEL_LAYERS_MLA_ATTENTION_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "model/decoder/decoder_config.h"
#include "model/kernels/kernel_set.h"
#include "model/kv_cache/kv_cache.h"
#include "model/layers/attention_inputs.h"
#include "model/layers/norm.h"

namespace stepd {

class MlaAttention {
 public:
  MlaAttention(const MlaConfig& config, const kernels::KernelSet& kernels,
               int tokens_per_block);

  KvCacheSpec cache_spec() const;
  // Scratch floats for `num_tokens` rows.
  std::int64_t ScratchSize(std::int64_t num_tokens) const;

  // residual += attention(x); x [N, D] is normed already. Appends the new
  // tokens' latents and rope keys to the slot.
  void AddTo(const kernels::KernelSet& kernels, const AttentionInputs& inputs,
             const float* x, float* residual) const;

 private:
  // Writes the queries in latent space, [N, H, latent + rope].
  void Query(const kernels::KernelSet& kernels, const AttentionInputs& inputs,
             const float* x, float* query) const;
  void Append(const kernels::KernelSet& kernels, const AttentionInputs& inputs,
              const float* x) const;

  kernels::AttentionShape shape_;  // one KV head; v_dim = latent
  int nope_dim_;
  int rope_dim_;
  int v_dim_;  // of a head, out of the latent
  float softmax_scale_;
  std::unique_ptr<kernels::PackedLinear> q_down_;
  Norm q_norm_;
  std::unique_ptr<kernels::PackedLinear> q_up_nope_;  // [H * nope, rank]
  std::unique_ptr<kernels::PackedLinear> q_up_rope_;  // [H * rope, rank]
  std::unique_ptr<kernels::PackedLinear> kv_down_;    // [latent + rope, D]
  Norm kv_norm_;
  // Per head: query into latent space [latent, nope], latent to value
  // [v_dim, latent].
  std::vector<std::unique_ptr<kernels::PackedLinear>> key_folds_;
  std::vector<std::unique_ptr<kernels::PackedLinear>> value_ups_;
  std::unique_ptr<kernels::PackedLinear> o_;
};

}  // namespace stepd

#endif  // STEPD_MODEL_LAYERS_MLA_ATTENTION_H_
