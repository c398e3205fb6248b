// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/mouse_backbone.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/checkpoint/projections.h"
#include "model/checkpoint/rope_parameters.h"

namespace stepd::checkpoint {
namespace {

constexpr std::int64_t kMaxHeadDim = 1 << 14;

// What the originals take where a checkpoint cannot say otherwise: the last
// layers see 4096 tokens, themselves included.
constexpr std::int64_t kFirstSlidingLayer = 28;
constexpr std::int64_t kSlidingWindow = 4096;

struct Defaults {
  std::int64_t max_positions;
  std::int64_t expand;
  double norm_eps;
};

constexpr Defaults kLlamaDefaults = {4096, 4, 1e-5};
constexpr Defaults kQwen3Defaults = {32768, 3, 1e-6};

struct Shape {
  std::int64_t hidden_dim = 0;
  std::int64_t num_layers = 0;
  std::int64_t num_heads = 0;
  std::int64_t num_kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t ffn_dim = 0;
  double norm_eps = 0;
  Bias attention_bias = Bias::kAbsent;
  bool has_qk_norm = false;
  bool has_sliding_window = false;
  RopeConfig rope;
};

void ReadHeads(ConfigReader* kwargs, Shape* shape) {
  shape->num_heads = kwargs->RequireInt("num_heads");
  shape->num_kv_heads =
      kwargs->OptionalInt("num_key_value_heads", shape->num_heads);
  if (shape->num_heads % shape->num_kv_heads != 0) {
    kwargs->Fail("num_key_value_heads",
                 absl::StrCat("must divide num_heads, ", shape->num_heads));
  }
  const bool is_given = shape->has_qk_norm && kwargs->Has("head_dim");
  if (!is_given && shape->hidden_dim % shape->num_heads != 0) {
    kwargs->Fail("num_heads",
                 absl::StrCat("must divide hidden_dim, ", shape->hidden_dim));
  }
  shape->head_dim = shape->hidden_dim / shape->num_heads;
  if (shape->has_qk_norm) {
    shape->head_dim = kwargs->OptionalInt("head_dim", shape->head_dim);
  }
  if (shape->head_dim % 2 != 0 || shape->head_dim > kMaxHeadDim) {
    kwargs->Fail(is_given ? "head_dim" : "num_heads",
                 absl::StrCat("makes heads of width ", shape->head_dim,
                              "; it must be even and at most ", kMaxHeadDim));
  }
}

Shape ReadShape(MouseBackboneKind kind, std::int64_t hidden_dim,
                ConfigReader* kwargs) {
  const bool is_qwen3 = kind == MouseBackboneKind::kQwen3;
  const Defaults& defaults = is_qwen3 ? kQwen3Defaults : kLlamaDefaults;
  Shape shape;
  shape.hidden_dim = hidden_dim;
  shape.has_qk_norm = is_qwen3;
  shape.num_layers = kwargs->RequireInt("num_layers");
  ReadHeads(kwargs, &shape);
  const std::int64_t expand = kwargs->OptionalInt("expand", defaults.expand);
  shape.ffn_dim = kwargs->OptionalInt("intermediate_size", hidden_dim * expand);
  shape.norm_eps =
      kwargs->OptionalNumber("rms_norm_eps", defaults.norm_eps, kPositive);
  shape.attention_bias = kwargs->OptionalBool("attention_bias", false)
                             ? Bias::kPresent
                             : Bias::kAbsent;
  if (is_qwen3) {
    shape.has_sliding_window =
        kwargs->OptionalBool("use_sliding_window", false);
  }
  const std::int64_t max_positions =
      kwargs->OptionalInt("max_position_embeddings", defaults.max_positions);
  std::optional<ConfigReader> rope = kwargs->OptionalObject("rope_parameters");
  kwargs->RefuseOtherKeys();
  if (kwargs->ok()) {
    shape.rope =
        ReadRopeParameters(std::move(rope), {shape.head_dim, max_positions});
  }
  return shape;
}

GqaConfig ReadAttention(const Shape& shape, std::int64_t layer,
                        WeightReader weights) {
  GqaShape gqa = {shape.hidden_dim, shape.num_heads, shape.num_kv_heads,
                  shape.head_dim};
  gqa.qkv_bias = shape.attention_bias;
  gqa.o_bias = shape.attention_bias;
  if (shape.has_qk_norm) gqa.qk_norm_eps = shape.norm_eps;
  GqaConfig attention = ReadGqa(gqa, weights);
  attention.rope = shape.rope;
  if (shape.has_sliding_window && layer >= kFirstSlidingLayer) {
    attention.window_left = kSlidingWindow - 1;
  }
  return attention;
}

LayerConfig ReadLayer(const Shape& shape, std::int64_t layer,
                      WeightReader weights) {
  LayerConfig config;
  config.attention_norm =
      weights.Norm("input_layernorm", shape.hidden_dim, shape.norm_eps);
  config.attention = ReadAttention(shape, layer, weights.Under("self_attn"));
  config.ffn_norm = weights.Norm("post_attention_layernorm", shape.hidden_dim,
                                 shape.norm_eps);
  config.ffn = ReadGatedFfn(shape.hidden_dim, shape.ffn_dim, Bias::kAbsent,
                            weights.Under("mlp"));
  return config;
}

}  // namespace

DecoderConfig ReadMouseBackbone(MouseBackboneKind kind, std::int64_t hidden_dim,
                                ConfigReader kwargs, WeightReader weights) {
  const Shape shape = ReadShape(kind, hidden_dim, &kwargs);
  // Always saved, never used.
  weights.Take("embed_tokens.weight", {1, hidden_dim});
  StageConfig stage;
  for (std::int64_t layer = 0; layer < shape.num_layers; ++layer) {
    if (!weights.ok()) break;
    stage.layers.push_back(
        ReadLayer(shape, layer, weights.Under(absl::StrCat("layers.", layer))));
  }
  DecoderConfig decoder;
  decoder.hidden_dim = hidden_dim;
  decoder.stages.push_back(std::move(stage));
  return decoder;
}

}  // namespace stepd::checkpoint
