// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// One decoder layer: an attention kind and a feed-forward kind, each behind its
// norm. The one place that knows which kinds there are.
//
// Thread safety: thread-safe once built.

#ifndef STEPD_MODEL_LAYERS_LAYER_H_
#define STEPD_MODEL_LAYERS_LAYER_H_

#include <cstdint>
#include <optional>
#include <variant>

#include "model/decoder/decoder_config.h"
#include "model/kernels/kernel_set.h"
#include "model/kv_cache/kv_cache.h"
#include "model/layers/attention_inputs.h"
#include "model/layers/banked_ffn.h"
#include "model/layers/cross_attention.h"
#include "model/layers/dense_ffn.h"
#include "model/layers/gqa_attention.h"
#include "model/layers/linear_mixer.h"
#include "model/layers/mla_attention.h"
#include "model/layers/modulation.h"
#include "model/layers/moe_ffn.h"
#include "model/layers/norm.h"

namespace stepd {

// The rope of an attention kind; nullptr: it has none.
const RopeConfig* FindRope(const AttentionConfig& config);

class Layer {
 public:
  // `tokens_per_block` of the KV cache.
  Layer(const LayerConfig& config, const kernels::KernelSet& kernels,
        int tokens_per_block);

  std::int64_t dim() const { return dim_; }

  // The size of the condition that sets the layer's norms and gates, and of
  // what is made of it; 0: there is none.
  std::int64_t condition_dim() const {
    return modulation_.has_value() ? modulation_->condition_dim() : 0;
  }
  std::int64_t modulation_size() const {
    return modulation_.has_value() ? modulation_->size() : 0;
  }
  // AttentionInputs::modulations of one session, to `out` on the device.
  // REQUIRES: condition_dim() > 0.
  void PrepareModulation(const kernels::KernelSet& kernels,
                         const float* condition, float* out) const {
    modulation_->Prepare(kernels, condition, out);
  }

  // What one visit caches of a token; nullopt: nothing.
  std::optional<KvCacheSpec> cache_spec() const;
  // What the layer keeps of a row of a session's source; nullopt: it reads
  // none.
  std::optional<KvCacheSpec> source_spec() const;
  // Scratch floats for `num_tokens` rows.
  std::int64_t ScratchSize(std::int64_t num_tokens) const;

  // Fills `slot` with the keys and values of a session's source, whose
  // `modulation` is all that PrepareModulation() gave of its condition.
  // REQUIRES: source_spec().
  void ReadSource(const kernels::KernelSet& kernels, SourceRows rows,
                  const kernels::KvSlot& slot) const;

  // x += attention(norm(x)); x += ffn(norm(x)), for residual rows x [N, D].
  void Forward(const kernels::KernelSet& kernels, const AttentionInputs& inputs,
               float* x) const;

 private:
  using Attention = std::variant<NoOp, LinearMixerLayer, GqaAttention,
                                 MlaAttention, CrossAttention>;
  using Ffn = std::variant<NoOp, LinearMixerLayer, DenseFfn, BankedFfn, MoeFfn>;

  static Attention MakeAttention(const AttentionConfig& config,
                                 const kernels::KernelSet& kernels,
                                 int tokens_per_block);
  static Ffn MakeFfn(const FfnConfig& config,
                     const kernels::KernelSet& kernels);

  // The vectors of a modulation that belong to one half of the layer.
  enum class Half { kAttention, kFfn };
  void ApplyNorm(const kernels::KernelSet& kernels,
                 const AttentionInputs& inputs, Half half, const float* x,
                 float* normed) const;
  // Each row with the weights of its bank.
  static void ApplyBankedNorm(const kernels::KernelSet& kernels,
                              const AttentionInputs& inputs, const Norm& norm,
                              const float* x, float* normed);
  // x += gate * what `add` adds to rows of zeros; without a modulation `add`
  // adds to x itself.
  template <typename Add>
  void AddGated(const kernels::KernelSet& kernels,
                const AttentionInputs& inputs, Half half, float* x,
                Add add) const;

  std::int64_t dim_ = 0;  // D; 0: the layer does nothing
  std::optional<Modulation> modulation_;
  std::optional<Norm> attention_norm_;
  Attention attention_;
  std::optional<Norm> ffn_norm_;
  Ffn ffn_;
};

}  // namespace stepd

#endif  // STEPD_MODEL_LAYERS_LAYER_H_
