// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/decoder/decoder.h"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace stepd {

using kernels::BatchLayout;
using kernels::KernelSet;

Decoder::Decoder(const DecoderConfig& config, const KernelSet& kernels,
                 int tokens_per_block)
    : kernels_(kernels), hidden_dim_(config.hidden_dim) {
  for (const StageConfig& stage : config.stages) {
    for (const LayerConfig& layer : stage.layers) {
      AddLayer(layer, tokens_per_block);
    }
  }
  if (config.final_norm.has_value()) {
    final_norm_.emplace(*config.final_norm, kernels_);
  }
}

void Decoder::AddLayer(const LayerConfig& config, int tokens_per_block) {
  const auto& gqa = std::get<GqaConfig>(config.attention);
  const auto& dense = std::get<DenseFfnConfig>(config.ffn);
  GqaAttention attention(gqa, kernels_, tokens_per_block);
  kv_slots_.push_back(attention.cache_spec());
  layers_.push_back(
      Layer{Norm(config.attention_norm, kernels_), std::move(attention),
            Norm(config.ffn_norm, kernels_), DenseFfn(dense, kernels_),
            static_cast<int>(kv_slots_.size()) - 1, AddRope(gqa.rope)});
}

int Decoder::AddRope(const RopeConfig& config) {
  const auto is_same = [&](const RopeConfig& other) {
    return other.attention_factor == config.attention_factor &&
           other.inverse_frequencies == config.inverse_frequencies;
  };
  const auto found = std::find_if(ropes_.begin(), ropes_.end(), is_same);
  if (found != ropes_.end()) return static_cast<int>(found - ropes_.begin());
  ropes_.push_back(config);
  return static_cast<int>(ropes_.size()) - 1;
}

std::int64_t Decoder::kv_bytes_per_token() const {
  std::int64_t bytes = 0;
  for (const KvCacheSpec& slot : kv_slots_) bytes += slot.bytes_per_token();
  return bytes;
}

std::vector<RopeCache> Decoder::MakeRopeCaches() const {
  return {ropes_.begin(), ropes_.end()};
}

std::int64_t Decoder::ScratchSize(std::int64_t num_tokens) const {
  std::int64_t layers = 0;
  for (const Layer& layer : layers_) {
    std::visit(
        [&](const auto& attention, const auto& ffn) {
          layers = std::max({layers, attention.ScratchSize(num_tokens),
                             ffn.ScratchSize(num_tokens)});
        },
        layer.attention, layer.ffn);
  }
  std::int64_t ropes = 0;
  for (const RopeConfig& rope : ropes_) {
    ropes +=
        2 * Scratch::Rounded(num_tokens * static_cast<std::int64_t>(
                                              rope.inverse_frequencies.size()));
  }
  return layers + ropes + Scratch::Rounded(num_tokens * hidden_dim_);
}

std::vector<Decoder::RopeRows> Decoder::TurnPositions(const BatchLayout& layout,
                                                      DecoderState* state,
                                                      Scratch* scratch) const {
  std::vector<RopeRows> rows;
  std::vector<float> host;
  for (RopeCache& rope : state->ropes) {
    const std::int64_t count = layout.num_tokens() * rope.half_dim();
    float* cos = scratch->Take(count);
    float* sin = scratch->Take(count);
    if (kernels_.device().is_cpu()) {
      rope.Lookup(layout.positions, cos, sin);
    } else {
      host.resize(static_cast<std::size_t>(2 * count));
      rope.Lookup(layout.positions, host.data(), host.data() + count);
      kernels_.CopyFromHost(host.data(), count, cos);
      kernels_.CopyFromHost(host.data() + count, count, sin);
    }
    rows.push_back({cos, sin});
  }
  return rows;
}

void Decoder::Forward(const BatchLayout& layout, DecoderState* state,
                      Scratch* scratch, float* x) const {
  const Scratch::Scope scope(scratch);
  const std::vector<RopeRows> ropes = TurnPositions(layout, state, scratch);
  AttentionInputs inputs;
  inputs.layout = &layout;
  inputs.scratch = scratch;
  for (const Layer& layer : layers_) {
    const RopeRows& rope = ropes[static_cast<std::size_t>(layer.rope)];
    inputs.cos = rope.cos;
    inputs.sin = rope.sin;
    inputs.slot = state->cache.slot(layer.kv_slot);
    ForwardLayer(layer, inputs, x);
  }
}

void Decoder::ForwardLayer(const Layer& layer, const AttentionInputs& inputs,
                           float* x) const {
  const std::int64_t num_tokens = inputs.layout->num_tokens();
  const Scratch::Scope scope(inputs.scratch);
  float* normed = inputs.scratch->Take(num_tokens * hidden_dim_);

  layer.attention_norm.Apply(kernels_, x, num_tokens, normed);
  std::visit(
      [&](const auto& attention) {
        attention.AddTo(kernels_, inputs, normed, x);
      },
      layer.attention);

  layer.ffn_norm.Apply(kernels_, x, num_tokens, normed);
  std::visit(
      [&](const auto& ffn) {
        ffn.AddTo(kernels_, normed, num_tokens, inputs.scratch, x);
      },
      layer.ffn);
}

void Decoder::FinishRows(float* x, std::int64_t rows) const {
  if (final_norm_.has_value()) final_norm_->Apply(kernels_, x, rows, x);
}

}  // namespace stepd
