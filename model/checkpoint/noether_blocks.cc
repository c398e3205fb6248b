// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/noether_blocks.h"

#include <cstddef>
#include <optional>
#include <string>
#include <utility>

#include "ATen/Functions.h"
#include "ATen/TensorOperators.h"
#include "absl/strings/str_cat.h"
#include "model/checkpoint/rope_parameters.h"

namespace stepd::checkpoint {
namespace {

// ---- Config -------------------------------------------------------------

void ReadMlpSize(ConfigReader* block, UntiedBlockShape* shape) {
  if (block->Has("mlp_hidden_dim")) {
    shape->mlp_dim = block->RequireInt("mlp_hidden_dim");
    block->Ignore("mlp_expansion_factor");
  } else if (block->Has("mlp_expansion_factor")) {
    shape->mlp_dim =
        block->RequireInt("mlp_expansion_factor", {1, 1 << 10}) * shape->dim;
    block->Ignore("mlp_hidden_dim");
  } else {
    block->Fail("mlp_hidden_dim", "is missing, and so is mlp_expansion_factor");
    return;
  }
  if (shape->mlp_dim <= shape->dim) {
    block->Fail("mlp_hidden_dim",
                absl::StrCat("must be above hidden_dim, ", shape->dim));
  }
}

void ReadBlock(ConfigReader* config, UntiedBlockShape* shape) {
  ConfigReader block = config->RequireObject("config");
  shape->dim = block.RequireInt("hidden_dim");
  shape->num_heads = block.RequireInt("num_heads");
  if (shape->dim % shape->num_heads != 0) {
    block.Fail("num_heads",
               absl::StrCat("must divide hidden_dim, ", shape->dim));
  }
  ReadMlpSize(&block, shape);
  shape->has_bias = block.OptionalBool("bias", true);
  shape->eps = block.OptionalNumber("eps", 1e-6, kPositive);
  shape->has_layer_scale = block.Has("layerscale");
  block.OptionalNumber("layerscale", 1.0);
  shape->has_rope = block.OptionalBool("use_rope", false);
  shape->condition_dim = block.OptionalInt("condition_dim", 0);
  if (shape->condition_dim > 0 && !shape->has_bias) {
    block.Fail("condition_dim", "needs bias to be true");
  }
  const std::string attention =
      block.OptionalString("attention_constructor", "dot_product");
  if (attention != "dot_product") {
    block.Fail("attention_constructor", "is not dot_product");
  }
  // For training, or said again by `rope`.
  for (const char* unused :
       {"drop_path", "init_weights", "max_wavelength", "attention_arguments"}) {
    block.Ignore(unused);
  }
  block.RefuseOtherKeys();
}

void ReadRope(ConfigReader* config, UntiedBlockShape* shape) {
  std::optional<ConfigReader> rope = config->OptionalObject("rope");
  if (rope.has_value() != shape->has_rope) {
    config->Fail("rope", shape->has_rope ? "is missing, config.use_rope is true"
                                         : "is there, config.use_rope is not");
  }
  if (!rope.has_value()) return;
  shape->max_wavelength =
      rope->OptionalNumber("max_wavelength", 10000.0, kPositive);
  shape->rope_axes = rope->OptionalInt("input_dim", 1, {1, 1 << 10});
  const std::string kind = rope->OptionalString("implementation", "real");
  if (kind == "complex") {
    shape->rope_pairing = RopePairing::kInterleaved;
    if (shape->head_dim() % 2 != 0) {
      rope->Fail("implementation",
                 absl::StrCat("complex needs heads of even size, they have ",
                              shape->head_dim()));
    }
  } else if (kind != "real") {
    rope->Fail("implementation", "is neither real nor complex");
  } else if (shape->rope_axes > 1) {
    rope->Fail("implementation", "real is supported for one axis only");
  }
  if (shape->head_dim() < 2 * shape->rope_axes) {
    rope->Fail("input_dim", "needs heads of at least two elements per axis");
  }
  rope->RefuseOtherKeys();
}

// ---- Weights ------------------------------------------------------------

// The linear with its outputs multiplied by `scale` [out]; undefined: as it is.
LinearWeights Scaled(LinearWeights linear, const at::Tensor& scale) {
  if (!scale.defined() || !linear.weight.defined()) return linear;
  const at::Tensor factor = scale.to(at::kFloat);
  linear.weight = linear.weight.to(at::kFloat) * factor.unsqueeze(1);
  if (linear.bias.defined()) linear.bias = linear.bias.to(at::kFloat) * factor;
  return linear;
}

// An odd head has one element more than its pairs: it stays as it is.
RopeConfig RopeOf(const UntiedBlockShape& s) {
  RopeConfig rope;
  if (!s.has_rope) return rope;
  rope.inverse_frequencies =
      DefaultFrequencies(s.max_wavelength, s.head_dim() / 2 * 2);
  rope.pairing = s.rope_pairing;
  return rope;
}

// Without weights of its own where the session's condition sets them.
NormConfig ReadNorm(const UntiedBlockShape& s, absl::string_view name,
                    std::int64_t dim, WeightReader weights) {
  NormConfig norm;
  norm.kind = NormKind::kLayer;
  norm.eps = static_cast<float>(s.eps);
  if (s.condition_dim > 0) return norm;
  norm.weight = weights.Take(absl::StrCat(name, ".weight"), {dim});
  if (s.has_bias) {
    norm.bias = weights.Take(absl::StrCat(name, ".bias"), {dim});
  }
  return norm;
}

// Its linears have biases whatever the block's `bias` says.
BankedFfnConfig ReadMlp(const UntiedBlockShape& s,
                        const at::Tensor& layer_scale, WeightReader weights) {
  std::vector<LinearWeights> up =
      ReadUntiedLinear(s, "layers.0.", {s.mlp_dim, s.dim}, weights);
  std::vector<LinearWeights> down =
      ReadUntiedLinear(s, "layers.1.", {s.dim, s.mlp_dim}, weights);
  BankedFfnConfig mlp;
  for (std::size_t bank = 0; bank < down.size(); ++bank) {
    DenseFfnConfig ffn;
    ffn.activation = Activation::kGelu;
    ffn.up = std::move(up[bank]);
    ffn.down = Scaled(std::move(down[bank]), layer_scale);
    mlp.banks.push_back(std::move(ffn));
  }
  return mlp;
}

// The file has scale and shift of the queries' norm, then of the source's, then
// the gate of the attention and what is the feed-forward block's.
ModulationConfig ReadPerceiverModulation(const UntiedBlockShape& s,
                                         std::int64_t source_dim,
                                         WeightReader weights) {
  ModulationConfig modulation;
  modulation.dim = s.dim;
  modulation.source_dim = source_dim;
  const LinearWeights stored =
      weights.Linear("modulation.project", 6 * s.dim + 2 * source_dim,
                     s.condition_dim, Bias::kPresent);
  if (!weights.ok()) return modulation;
  const auto reordered = [&](const at::Tensor& rows) {
    return at::cat({rows.narrow(0, 0, 2 * s.dim),
                    rows.narrow(0, 2 * (s.dim + source_dim), 4 * s.dim),
                    rows.narrow(0, 2 * s.dim, 2 * source_dim)});
  };
  modulation.project = {reordered(stored.weight), reordered(stored.bias)};
  return modulation;
}

}  // namespace

UntiedBlockShape ReadUntiedBlockShape(ConfigReader* config) {
  UntiedBlockShape shape;
  shape.num_types = config->RequireInt("num_types");
  ReadBlock(config, &shape);
  ReadRope(config, &shape);
  return shape;
}

std::vector<LinearWeights> ReadUntiedLinear(const UntiedBlockShape& shape,
                                            absl::string_view name,
                                            const UntiedLinearShape& linear,
                                            WeightReader weights) {
  std::vector<LinearWeights> banks;
  for (std::int64_t i = 0; i < shape.num_types && weights.ok(); ++i) {
    LinearWeights bank;
    bank.weight =
        weights.Take(absl::StrCat(name, "weight.", i), {linear.out, linear.in});
    if (linear.bias == Bias::kPresent) {
      bank.bias = weights.Take(absl::StrCat(name, "bias.", i), {linear.out});
    }
    if (shape.transposes_square && linear.out == linear.in && weights.ok()) {
      bank.weight = bank.weight.transpose(0, 1).contiguous();
    }
    banks.push_back(std::move(bank));
  }
  return banks;
}

GqaConfig ReadUntiedAttention(const UntiedBlockShape& s,
                              const WeightReader& weights) {
  const Bias bias = s.has_bias ? Bias::kPresent : Bias::kAbsent;
  const auto read = [&](absl::string_view name) {
    return ReadUntiedLinear(s, name, {s.dim, s.dim, bias}, weights);
  };
  std::vector<LinearWeights> q = read("q.");
  std::vector<LinearWeights> k = read("k.");
  std::vector<LinearWeights> v = read("v.");
  std::vector<LinearWeights> o = read("proj.");
  GqaConfig gqa;
  gqa.num_heads = static_cast<int>(s.num_heads);
  gqa.num_kv_heads = gqa.num_heads;
  gqa.head_dim = static_cast<int>(s.head_dim());
  for (std::size_t bank = 0; bank < o.size(); ++bank) {
    gqa.banks.push_back({std::move(q[bank]), std::move(k[bank]),
                         std::move(v[bank]), std::move(o[bank]), std::nullopt,
                         std::nullopt});
  }
  gqa.rope = RopeOf(s);
  return gqa;
}

namespace {

// What a block multiplies its attention and its feed-forward network by;
// undefined: nothing.
struct LayerScale {
  at::Tensor attention;
  at::Tensor mlp;
};

LayerScale TakeLayerScale(const UntiedBlockShape& shape, WeightReader weights) {
  LayerScale scale;
  if (shape.has_layer_scale) {
    scale.attention = weights.Take("ls1.gamma", {shape.dim});
    scale.mlp = weights.Take("ls2.gamma", {shape.dim});
  }
  return scale;
}

// A block but for its attention.
LayerConfig ReadFrame(const UntiedBlockShape& shape,
                      absl::string_view attention_norm,
                      const at::Tensor& mlp_scale, WeightReader weights) {
  LayerConfig layer;
  layer.attention_norm = ReadNorm(shape, attention_norm, shape.dim, weights);
  layer.ffn_norm = ReadNorm(shape, "norm2", shape.dim, weights);
  layer.ffn = ReadMlp(shape, mlp_scale, weights.Under("mlp"));
  return layer;
}

}  // namespace

LayerConfig ReadUntiedBlock(const UntiedBlockShape& shape,
                            absl::string_view attention, WeightReader weights) {
  const LayerScale scale = TakeLayerScale(shape, weights);
  LayerConfig layer = ReadFrame(shape, "norm1", scale.mlp, weights);
  GqaConfig gqa = ReadUntiedAttention(shape, weights.Under(attention));
  for (GqaWeights& bank : gqa.banks) {
    bank.o = Scaled(std::move(bank.o), scale.attention);
  }
  layer.attention = std::move(gqa);
  if (shape.condition_dim > 0) {
    layer.modulation.emplace();
    layer.modulation->dim = shape.dim;
    layer.modulation->project =
        weights.Linear("modulation.project", 6 * shape.dim, shape.condition_dim,
                       Bias::kPresent);
  }
  return layer;
}

CrossAttentionConfig ReadPerceiverAttention(const UntiedBlockShape& s,
                                            std::int64_t source_dim,
                                            WeightReader weights) {
  const Bias bias = s.has_bias ? Bias::kPresent : Bias::kAbsent;
  CrossAttentionConfig cross;
  cross.num_heads = static_cast<int>(s.num_heads);
  cross.num_kv_heads = cross.num_heads;
  cross.head_dim = static_cast<int>(s.head_dim());
  cross.q = ReadUntiedLinear(s, "q.", {s.dim, s.dim, bias}, weights);
  cross.k = weights.Linear("k", s.dim, source_dim, bias);
  cross.v = weights.Linear("v", s.dim, source_dim, bias);
  cross.o = ReadUntiedLinear(s, "proj.", {s.dim, s.dim, bias}, weights);
  cross.rope = RopeOf(s);
  return cross;
}

LayerConfig ReadPerceiverBlock(const UntiedBlockShape& shape,
                               std::int64_t source_dim, WeightReader weights) {
  const LayerScale scale = TakeLayerScale(shape, weights);
  LayerConfig layer = ReadFrame(shape, "norm1q", scale.mlp, weights);
  CrossAttentionConfig cross =
      ReadPerceiverAttention(shape, source_dim, weights.Under("attn"));
  cross.source_norm = ReadNorm(shape, "norm1kv", source_dim, weights);
  for (LinearWeights& bank : cross.o) {
    bank = Scaled(std::move(bank), scale.attention);
  }
  layer.attention = std::move(cross);
  if (shape.condition_dim > 0) {
    layer.modulation = ReadPerceiverModulation(shape, source_dim, weights);
  }
  return layer;
}

}  // namespace stepd::checkpoint
