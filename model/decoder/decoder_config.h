// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// A decoder as data: stages of layers, each layer an attention kind and a
// feed-forward kind with its own numbers and weights. Checkpoint formats
// produce this; nothing after them knows where it came from.
//
// Tensors are on the CPU, contiguous, in the checkpoint's floating dtype. An
// undefined tensor means "not there". Symbols: docs/glossary.md.
//
// Thread safety: plain values.

#ifndef STEPD_MODEL_DECODER_DECODER_CONFIG_H_
#define STEPD_MODEL_DECODER_DECODER_CONFIG_H_

#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "ATen/core/Tensor.h"
#include "model/linear_weights.h"

namespace stepd {

// y = weight * x / sqrt(mean(x^2) + eps) (arXiv:1910.07467).
struct NormConfig {
  at::Tensor weight;  // [D]
  float eps = 1e-5F;
};

// Rotary positions (arXiv:2104.09864), half-split pairing: element i of a head
// turns with element i + head_dim/2 by position * inverse_frequencies[i];
// cos and sin are multiplied by attention_factor.
struct RopeConfig {
  std::vector<float> inverse_frequencies;  // [head_dim / 2]
  float attention_factor = 1.0F;
};

// Grouped-query attention (arXiv:2305.13245): query head h reads KV head
// h / (num_heads / num_kv_heads).
struct GqaConfig {
  int num_heads = 0;
  int num_kv_heads = 0;              // divides num_heads
  int head_dim = 0;                  // even
  LinearWeights q;                   // [num_heads * head_dim, D]
  LinearWeights k;                   // [num_kv_heads * head_dim, D]
  LinearWeights v;                   // [num_kv_heads * head_dim, D]
  LinearWeights o;                   // [D, num_heads * head_dim]
  std::optional<NormConfig> q_norm;  // over head_dim, before rope
  std::optional<NormConfig> k_norm;
  RopeConfig rope;
  // A token sees itself and this many tokens before it; -1 = all.
  std::int64_t window_left = -1;
};

enum class Activation { kSilu };

// down(activation(gate x) * up x).
struct DenseFfnConfig {
  Activation activation = Activation::kSilu;
  LinearWeights gate;  // [F, D]
  LinearWeights up;    // [F, D]
  LinearWeights down;  // [D, F]
};

using AttentionConfig = std::variant<GqaConfig>;
using FfnConfig = std::variant<DenseFfnConfig>;

// x += attention(attention_norm(x)); x += ffn(ffn_norm(x)).
struct LayerConfig {
  NormConfig attention_norm;
  AttentionConfig attention;
  NormConfig ffn_norm;
  FfnConfig ffn;
};

// Layers in order.
struct StageConfig {
  std::vector<LayerConfig> layers;
};

struct DecoderConfig {
  std::int64_t hidden_dim = 0;  // D
  std::vector<StageConfig> stages;
  std::optional<NormConfig> final_norm;
};

}  // namespace stepd

#endif  // STEPD_MODEL_DECODER_DECODER_CONFIG_H_
