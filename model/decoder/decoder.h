// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The decoder that a DecoderConfig describes, resident on a device.
//
// Thread safety: a Decoder is thread-safe once built; DecoderState is one
// runner's own.

#ifndef STEPD_MODEL_DECODER_DECODER_H_
#define STEPD_MODEL_DECODER_DECODER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include "model/decoder/decoder_config.h"
#include "model/kernels/kernel_set.h"
#include "model/kv_cache/kv_cache.h"
#include "model/layers/dense_ffn.h"
#include "model/layers/gqa_attention.h"
#include "model/layers/norm.h"
#include "model/layers/rope_cache.h"
#include "model/layers/scratch.h"

namespace stepd {

// What a decoder keeps between the batches of one runner.
struct DecoderState {
  KvCache cache;
  std::vector<RopeCache> ropes;  // by Layer::rope
};

class Decoder {
 public:
  // `kernels` must outlive the decoder.
  Decoder(const DecoderConfig& config, const kernels::KernelSet& kernels,
          int tokens_per_block);

  std::int64_t hidden_dim() const { return hidden_dim_; }
  // One per cached layer visit.
  const std::vector<KvCacheSpec>& kv_slots() const { return kv_slots_; }
  std::int64_t kv_bytes_per_token() const;
  std::vector<RopeCache> MakeRopeCaches() const;

  // Scratch floats for `num_tokens` rows.
  std::int64_t ScratchSize(std::int64_t num_tokens) const;

  // Runs all layers over the residual rows x [N, D], in place: prefill, decode
  // and rebuild alike. REQUIRES: N >= 1, scratch reserved.
  void Forward(const kernels::BatchLayout& layout, DecoderState* state,
               Scratch* scratch, float* x) const;

  // The final norm, in place, on rows that are read; nothing if there is none.
  void FinishRows(float* x, std::int64_t rows) const;

 private:
  struct Layer {
    Norm attention_norm;
    std::variant<GqaAttention> attention;
    Norm ffn_norm;
    std::variant<DenseFfn> ffn;
    int kv_slot;
    int rope;  // index into ropes_
  };
  // Cosines and sines of a batch on the device, one pair per rope.
  struct RopeRows {
    const float* cos;
    const float* sin;
  };

  void AddLayer(const LayerConfig& config, int tokens_per_block);
  int AddRope(const RopeConfig& config);
  std::vector<RopeRows> TurnPositions(const kernels::BatchLayout& layout,
                                      DecoderState* state,
                                      Scratch* scratch) const;
  void ForwardLayer(const Layer& layer, const AttentionInputs& inputs,
                    float* x) const;

  const kernels::KernelSet& kernels_;
  std::int64_t hidden_dim_;
  std::vector<Layer> layers_;
  std::vector<RopeConfig> ropes_;
  std::vector<KvCacheSpec> kv_slots_;
  std::optional<Norm> final_norm_;
};

}  // namespace stepd

#endif  // STEPD_MODEL_DECODER_DECODER_H_
