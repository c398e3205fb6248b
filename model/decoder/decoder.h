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
#include <optional>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/container/inlined_vector.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/decoder/decoder_config.h"
#include "model/kernels/kernel_set.h"
#include "model/kv_cache/kv_cache.h"
#include "model/kv_cache/source_cache.h"
#include "model/layers/layer.h"
#include "model/layers/norm.h"
#include "model/layers/recurrent_loop.h"
#include "model/layers/rope_cache.h"
#include "model/layers/scratch.h"
#include "model/policy_spec.h"

namespace stepd {

// What a decoder keeps between the batches of one runner.
struct DecoderState {
  KvCache cache;
  std::vector<RopeCache> ropes;  // one per distinct RopeConfig
};

// Rows of the residual stream that are read after some layers.
struct LayerReads {
  absl::Span<const std::int32_t> rows;  // of the batch; R of them
  // Layer after which they are read, counted over all stages; ascending.
  absl::Span<const int> layers;
  float* out = nullptr;  // [layers, R, D] on the device
};

// What one forward runs over.
struct DecoderBatch {
  const kernels::BatchLayout& layout;
  LayerReads reads;
  // [B] of the sessions; empty if the decoder reads none.
  absl::Span<const SourceCache* const> sources;
  // [B] of the sessions, from PrepareModulations(); empty if there are none.
  absl::Span<const float* const> modulations;
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
  // In the order of all stages.
  const std::vector<LayerSpec>& layers() const { return layers_; }
  std::vector<RopeCache> MakeRopeCaches() const;

  // Scratch floats for `num_tokens` rows.
  std::int64_t ScratchSize(std::int64_t num_tokens) const;

  // Runs all stages over the residual rows x [N, D], in place: prefill, decode
  // and rebuild alike. REQUIRES: N >= 1, scratch reserved.
  void Forward(const DecoderBatch& batch, DecoderState* state, Scratch* scratch,
               float* x) const;

  // Whether sessions have a source that layers read.
  bool reads_source() const { return !source_slots_.empty(); }
  // Keys and values of a source's rows [num_rows, D of the source] for every
  // layer that reads it. `modulations` of the session's condition, if there is
  // one.
  // Errors: kResourceExhausted  they do not fit into memory
  absl::StatusOr<SourceCache> ReadSource(const float* rows,
                                         std::int64_t num_rows,
                                         const float* modulations) const;

  // The size of the condition that sets norms and gates; 0: there is none.
  std::int64_t condition_dim() const { return condition_dim_; }
  // What a session's condition [condition_dim()] on the device makes of the
  // layers' norms and gates. REQUIRES: condition_dim() > 0.
  at::Tensor PrepareModulations(const float* condition) const;

  // The final norm, in place, on rows that are read; nothing if there is none.
  void FinishRows(float* x, std::int64_t rows) const;

 private:
  static constexpr int kNone = -1;

  struct PlacedLayer {
    Layer layer;
    int rope;                 // index into ropes_, or kNone
    int kv_slot;              // of the first visit, or kNone
    int source_slot;          // or kNone
    std::int64_t modulation;  // where in a session's modulations
    int number;               // counted over all stages
  };
  struct Stage {
    std::vector<PlacedLayer> layers;
    std::optional<RecurrentLoop> loop;
    int slots_per_visit = 0;
  };
  // By RopeConfig. Policies have one or two.
  using TurnedPositions = absl::InlinedVector<kernels::RopeRows, 4>;
  // One forward on its way through the stages.
  struct Pass {
    const DecoderBatch& batch;
    const DecoderState& state;
    Scratch* scratch;
    TurnedPositions ropes;
  };

  std::int64_t kv_number_bytes() const;
  void AddStage(const StageConfig& config);
  int AddRope(const RopeConfig* config);
  TurnedPositions TurnPositions(const kernels::BatchLayout& layout,
                                DecoderState* state, Scratch* scratch) const;
  void RunLoop(const Pass& pass, const Stage& stage, float* x) const;
  // All layers of a stage once; `visit` counts its loops.
  void RunLayers(const Pass& pass, const Stage& stage, int visit,
                 float* x) const;
  void ReadRows(const LayerReads& reads, int layer, const float* x) const;

  const kernels::KernelSet& kernels_;
  const int tokens_per_block_;
  std::int64_t hidden_dim_;
  std::vector<Stage> stages_;
  std::vector<RopeConfig> ropes_;
  std::vector<at::Tensor> frequencies_;  // of each, on the device
  std::vector<KvCacheSpec> kv_slots_;
  std::vector<KvCacheSpec> source_slots_;
  std::int64_t condition_dim_ = 0;
  std::int64_t modulation_size_ = 0;  // numbers, of all layers
  std::vector<LayerSpec> layers_;
  std::optional<Norm> final_norm_;
};

}  // namespace stepd

#endif  // STEPD_MODEL_DECODER_DECODER_H_
