// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/decoder/decoder.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "ATen/Functions.h"
#include "model/layers/layer_description.h"

namespace stepd {

using kernels::BatchLayout;
using kernels::KernelSet;

// ---- Building -----------------------------------------------------------

Decoder::Decoder(const DecoderConfig& config, const KernelSet& kernels,
                 int tokens_per_block)
    : kernels_(kernels),
      tokens_per_block_(tokens_per_block),
      hidden_dim_(config.hidden_dim) {
  for (const StageConfig& stage : config.stages) {
    AddStage(stage);
  }
  if (config.final_norm.has_value()) {
    final_norm_.emplace(*config.final_norm, kernels_);
  }
}

void Decoder::AddStage(const StageConfig& config) {
  Stage stage;
  std::vector<KvCacheSpec> slots;
  if (config.loop.has_value()) stage.loop.emplace(*config.loop, kernels_);
  const int visits = stage.loop.has_value() ? stage.loop->num_loops() : 1;
  for (const LayerConfig& layer : config.layers) {
    Layer built(layer, kernels_, tokens_per_block_);
    LayerSpec spec = DescribeLayer(layer);
    spec.stage = static_cast<int>(stages_.size());
    spec.num_visits = visits;
    int slot = kNone;
    if (const std::optional<KvCacheSpec> cache = built.cache_spec()) {
      slot = static_cast<int>(kv_slots_.size() + slots.size());
      slots.push_back(*cache);
      spec.kv_bytes_per_token =
          visits * cache->numbers_per_token() * kv_number_bytes();
    }
    int source_slot = kNone;
    if (const std::optional<KvCacheSpec> source = built.source_spec()) {
      source_slot = static_cast<int>(source_slots_.size());
      source_slots_.push_back(*source);
    }
    const std::int64_t modulation_size = built.modulation_size();
    if (modulation_size > 0) condition_dim_ = built.condition_dim();
    stage.layers.push_back(
        {std::move(built), AddRope(FindRope(layer.attention)), slot,
         source_slot, modulation_size_, static_cast<int>(layers_.size())});
    modulation_size_ += modulation_size;
    layers_.push_back(std::move(spec));
  }
  stage.slots_per_visit = static_cast<int>(slots.size());
  for (int visit = 0; visit < visits; ++visit) {
    kv_slots_.insert(kv_slots_.end(), slots.begin(), slots.end());
  }
  stages_.push_back(std::move(stage));
}

int Decoder::AddRope(const RopeConfig* config) {
  if (config == nullptr) return kNone;
  const auto is_same = [&](const RopeConfig& other) {
    return other.attention_factor == config->attention_factor &&
           other.pairing == config->pairing &&
           other.inverse_frequencies == config->inverse_frequencies;
  };
  const auto found = std::find_if(ropes_.begin(), ropes_.end(), is_same);
  if (found != ropes_.end()) return static_cast<int>(found - ropes_.begin());
  ropes_.push_back(*config);
  // Not counted among the weights.
  std::vector<float> frequencies = config->inverse_frequencies;
  frequencies_.push_back(
      at::from_blob(frequencies.data(),
                    {static_cast<std::int64_t>(frequencies.size())}, at::kFloat)
          .to(kernels_.device(), at::kFloat, /*non_blocking=*/false,
              /*copy=*/true));
  return static_cast<int>(ropes_.size()) - 1;
}

// ---- Sizes --------------------------------------------------------------

std::int64_t Decoder::kv_bytes_per_token() const {
  std::int64_t numbers = 0;
  for (const KvCacheSpec& slot : kv_slots_) numbers += slot.numbers_per_token();
  return numbers * kv_number_bytes();
}

std::int64_t Decoder::kv_number_bytes() const {
  return static_cast<std::int64_t>(at::elementSize(kernels_.kv_type()));
}

std::vector<RopeCache> Decoder::MakeRopeCaches() const {
  return {ropes_.begin(), ropes_.end()};
}

std::int64_t Decoder::ScratchSize(std::int64_t num_tokens) const {
  std::int64_t stages = 0;
  for (const Stage& stage : stages_) {
    std::int64_t layers = 0;
    for (const PlacedLayer& placed : stage.layers) {
      layers = std::max(layers, placed.layer.ScratchSize(num_tokens));
    }
    if (stage.loop.has_value()) layers += stage.loop->ScratchSize(num_tokens);
    stages = std::max(stages, layers);
  }
  std::int64_t ropes = 0;
  for (const RopeConfig& rope : ropes_) {
    const auto half =
        static_cast<std::int64_t>(rope.inverse_frequencies.size());
    ropes += 2 * Scratch::Rounded(num_tokens * half);
  }
  return stages + ropes;
}

// ---- Running ------------------------------------------------------------

Decoder::TurnedPositions Decoder::TurnPositions(const BatchLayout& layout,
                                                DecoderState* state,
                                                Scratch* scratch) const {
  TurnedPositions rows;
  std::vector<float> host;
  for (std::size_t i = 0; i < state->ropes.size(); ++i) {
    RopeCache& rope = state->ropes[i];
    const std::int64_t count = layout.num_tokens() * rope.half_dim();
    float* cos = scratch->Take(count);
    float* sin = scratch->Take(count);
    const kernels::RopeFrequencies frequencies = {
        frequencies_[i].const_data_ptr<float>(), rope.half_dim(),
        ropes_[i].attention_factor};
    rows.push_back({cos, sin, ropes_[i].pairing});
    if (kernels_.TurnPositions(layout, frequencies, cos, sin)) continue;
    if (kernels_.device().is_cpu()) {
      rope.Lookup(layout.positions, cos, sin);
      continue;
    }
    host.resize(static_cast<std::size_t>(2 * count));
    rope.Lookup(layout.positions, host.data(), host.data() + count);
    kernels_.CopyFromHost(host.data(), count, cos);
    kernels_.CopyFromHost(host.data() + count, count, sin);
  }
  return rows;
}

absl::StatusOr<SourceCache> Decoder::ReadSource(
    const float* rows, std::int64_t num_rows, const float* modulations) const {
  absl::StatusOr<SourceCache> source = SourceCache::Create(
      source_slots_, num_rows, tokens_per_block_,
      at::TensorOptions(kernels_.kv_type()).device(kernels_.device()));
  if (!source.ok()) return source.status();
  for (const Stage& stage : stages_) {
    for (const PlacedLayer& placed : stage.layers) {
      if (placed.source_slot == kNone) continue;
      SourceRows of_layer;
      of_layer.x = rows;
      of_layer.layout = &source->layout();
      at::Tensor cos;
      at::Tensor sin;
      if (placed.rope != kNone) {
        const RopeConfig& config =
            ropes_[static_cast<std::size_t>(placed.rope)];
        RopeCache rope(config);
        cos = at::empty({num_rows, rope.half_dim()}, at::kFloat);
        sin = at::empty({num_rows, rope.half_dim()}, at::kFloat);
        rope.Lookup(source->layout().positions, cos.data_ptr<float>(),
                    sin.data_ptr<float>());
        cos = cos.to(kernels_.device());
        sin = sin.to(kernels_.device());
        of_layer.rope = {cos.const_data_ptr<float>(),
                         sin.const_data_ptr<float>(), config.pairing};
      }
      if (placed.layer.modulation_size() > 0) {
        of_layer.modulation = modulations + placed.modulation;
      }
      placed.layer.ReadSource(kernels_, of_layer,
                              source->slot(placed.source_slot).slot);
    }
  }
  return source;
}

at::Tensor Decoder::PrepareModulations(const float* condition) const {
  at::Tensor modulations =
      at::empty({modulation_size_},
                at::TensorOptions(at::kFloat).device(kernels_.device()));
  for (const Stage& stage : stages_) {
    for (const PlacedLayer& placed : stage.layers) {
      if (placed.layer.modulation_size() == 0) continue;
      placed.layer.PrepareModulation(
          kernels_, condition,
          modulations.data_ptr<float>() + placed.modulation);
    }
  }
  return modulations;
}

void Decoder::Forward(const DecoderBatch& batch, DecoderState* state,
                      Scratch* scratch, float* x) const {
  const Scratch::Scope scope(scratch);
  const Pass pass = {batch, *state, scratch,
                     TurnPositions(batch.layout, state, scratch)};
  for (const Stage& stage : stages_) {
    if (stage.loop.has_value()) {
      RunLoop(pass, stage, x);
    } else {
      RunLayers(pass, stage, /*visit=*/0, x);
    }
  }
}

void Decoder::RunLoop(const Pass& pass, const Stage& stage, float* x) const {
  const Scratch::Scope scope(pass.scratch);
  const RecurrentLoop& loop = *stage.loop;
  const std::int64_t rows = pass.batch.layout.num_tokens();
  const RecurrentLoop::State state =
      loop.Begin(kernels_, x, rows, pass.scratch);
  for (int t = 0; t < loop.num_loops(); ++t) {
    loop.Enter(kernels_, state, t, x);
    RunLayers(pass, stage, t, x);
    loop.Leave(kernels_, state, t, pass.scratch, x);
    // Later loops would only write keys and values that nobody reads.
    if (pass.batch.layout.is_final &&
        loop.HasEnded(kernels_, state, pass.scratch)) {
      break;
    }
  }
  kernels_.CopyColumns(
      {state.out, hidden_dim_, x, hidden_dim_, rows, hidden_dim_});
}

void Decoder::RunLayers(const Pass& pass, const Stage& stage, int visit,
                        float* x) const {
  AttentionInputs inputs;
  inputs.layout = &pass.batch.layout;
  inputs.scratch = pass.scratch;
  const Scratch::Scope scope(pass.scratch);
  const auto sources =
      pass.scratch->TakeHost<kernels::SourceKv>(pass.batch.sources.size());
  const auto modulations =
      pass.scratch->TakeHost<const float*>(pass.batch.modulations.size());
  for (const PlacedLayer& placed : stage.layers) {
    if (placed.rope != kNone) {
      inputs.rope = pass.ropes[static_cast<std::size_t>(placed.rope)];
    }
    if (placed.kv_slot != kNone) {
      inputs.slot =
          pass.state.cache.slot(placed.kv_slot + visit * stage.slots_per_visit);
    }
    if (placed.source_slot != kNone) {
      std::transform(pass.batch.sources.begin(), pass.batch.sources.end(),
                     sources.begin(), [&](const SourceCache* source) {
                       return source->slot(placed.source_slot);
                     });
      inputs.sources = sources;
    }
    if (placed.layer.modulation_size() > 0) {
      std::transform(pass.batch.modulations.begin(),
                     pass.batch.modulations.end(), modulations.begin(),
                     [&](const float* of_session) {
                       return of_session + placed.modulation;
                     });
      inputs.modulations = modulations;
    }
    placed.layer.Forward(kernels_, inputs, x);
    ReadRows(pass.batch.reads, placed.number, x);
  }
}

void Decoder::ReadRows(const LayerReads& reads, int layer,
                       const float* x) const {
  const auto found =
      std::lower_bound(reads.layers.begin(), reads.layers.end(), layer);
  if (found == reads.layers.end() || *found != layer) return;
  const std::int64_t index = found - reads.layers.begin();
  const auto rows = static_cast<std::int64_t>(reads.rows.size());
  kernels_.GatherRows(x, hidden_dim_, reads.rows,
                      reads.out + index * rows * hidden_dim_);
}

void Decoder::FinishRows(float* x, std::int64_t rows) const {
  if (final_norm_.has_value()) final_norm_->Apply(kernels_, x, rows, x);
}

}  // namespace stepd
