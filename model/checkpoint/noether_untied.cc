// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/noether_untied.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "ATen/TensorOperators.h"
#include "absl/strings/str_cat.h"
#include "model/checkpoint/config_reader.h"
#include "model/checkpoint/rope_parameters.h"
#include "model/checkpoint/weight_reader.h"

namespace stepd::checkpoint {
namespace {

struct Shape {
  std::vector<std::string> types;  // in the order of the banks
  std::int64_t depth = 0;
  std::int64_t dim = 0;
  std::int64_t num_heads = 0;
  std::int64_t mlp_dim = 0;
  double eps = 0;
  bool has_bias = false;
  bool has_layer_scale = false;
  bool has_rope = false;
  RopePairing pairing = RopePairing::kHalfSplit;
  double max_wavelength = 0;
  // Square matrices are stored as [in, out].
  bool transposes_square = false;

  std::int64_t head_dim() const { return dim / num_heads; }
};

// ---- Config -------------------------------------------------------------

void ReadTypes(ConfigReader* config, Shape* shape) {
  shape->types = config->RequireStrings("types");
  const std::int64_t num_types = config->RequireInt("num_types");
  if (num_types != static_cast<std::int64_t>(shape->types.size())) {
    config->Fail("num_types", absl::StrCat("is not the number of types, ",
                                           shape->types.size()));
  }
  const std::set<std::string> names(shape->types.begin(), shape->types.end());
  if (names.size() != shape->types.size()) {
    config->Fail("types", "has a name twice");
  }
}

void ReadMlpSize(ConfigReader* block, Shape* shape) {
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

void ReadBlock(ConfigReader* config, Shape* shape) {
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
  const std::string attention =
      block.OptionalString("attention_constructor", "dot_product");
  if (attention != "dot_product") {
    block.Fail("attention_constructor",
               "is not dot_product: other attention is not causal");
  }
  if (block.OptionalInt("condition_dim", 0, {0, kMaxSize}) > 0) {
    block.Fail("condition_dim", "conditions are not supported");
  }
  // For training, or said again by `rope`.
  for (const char* unused :
       {"drop_path", "init_weights", "max_wavelength", "attention_arguments"}) {
    block.Ignore(unused);
  }
  block.RefuseOtherKeys();
}

void ReadRope(ConfigReader* config, Shape* shape) {
  std::optional<ConfigReader> rope = config->OptionalObject("rope");
  if (rope.has_value() != shape->has_rope) {
    config->Fail("rope", shape->has_rope ? "is missing, config.use_rope is true"
                                         : "is there, config.use_rope is not");
  }
  if (!rope.has_value()) return;
  shape->max_wavelength =
      rope->OptionalNumber("max_wavelength", 10000.0, kPositive);
  if (rope->OptionalInt("input_dim", 1) != 1) {
    rope->Fail("input_dim", "is not 1: a token's position is its index");
  }
  const std::string kind = rope->OptionalString("implementation", "real");
  if (kind != "real" && kind != "complex") {
    rope->Fail("implementation", "is neither real nor complex");
  }
  if (kind == "complex") {
    shape->pairing = RopePairing::kInterleaved;
    if (shape->head_dim() % 2 != 0) {
      rope->Fail("implementation",
                 absl::StrCat("complex needs heads of even size, they have ",
                              shape->head_dim()));
    }
  }
  if (shape->head_dim() < 2) {
    rope->Fail("implementation", "needs heads of at least two elements");
  }
  rope->RefuseOtherKeys();
}

void ReadOrientation(ConfigReader* config, Shape* shape) {
  const std::string orientation =
      config->OptionalString("linear_orientation", "out_in");
  if (orientation == "upstream_auto") {
    config->Fail("linear_orientation",
                 "upstream_auto transposes or not by how many tokens of each "
                 "type a call has, so steps have no answer of their own; say "
                 "out_in, or in_out for a model that was trained on equally "
                 "many tokens of each type");
  } else if (orientation != "out_in" && orientation != "in_out") {
    config->Fail("linear_orientation", "is none of out_in, in_out");
  }
  shape->transposes_square = orientation == "in_out";
}

Shape ReadShape(ConfigReader* config) {
  Shape shape;
  config->Ignore("family");
  ReadTypes(config, &shape);
  shape.depth = config->RequireInt("depth");
  ReadBlock(config, &shape);
  ReadRope(config, &shape);
  ReadOrientation(config, &shape);
  if (config->OptionalString("position", "token_index") != "token_index") {
    config->Fail("position", "is not token_index");
  }
  config->RefuseOtherKeys();
  return shape;
}

// ---- Weights ------------------------------------------------------------

// The linear `name` of one bank. `is_biased`: it has a bias.
class BankReader {
 public:
  BankReader(const Shape& shape, std::size_t bank, WeightReader weights)
      : shape_(shape), bank_(bank), weights_(std::move(weights)) {}

  LinearWeights Linear(absl::string_view name, std::int64_t out,
                       std::int64_t in, bool is_biased) {
    LinearWeights linear;
    linear.weight =
        weights_.Take(absl::StrCat(name, ".weight.", bank_), {out, in});
    if (is_biased) {
      linear.bias = weights_.Take(absl::StrCat(name, ".bias.", bank_), {out});
    }
    if (shape_.transposes_square && out == in && weights_.ok()) {
      linear.weight = linear.weight.transpose(0, 1).contiguous();
    }
    return linear;
  }

 private:
  const Shape& shape_;
  std::size_t bank_;
  WeightReader weights_;
};

// The linear with its outputs multiplied by `scale` [out]; undefined: as it is.
LinearWeights Scaled(LinearWeights linear, const at::Tensor& scale) {
  if (!scale.defined() || !linear.weight.defined()) return linear;
  const at::Tensor factor = scale.to(at::kFloat);
  linear.weight = linear.weight.to(at::kFloat) * factor.unsqueeze(1);
  if (linear.bias.defined()) linear.bias = linear.bias.to(at::kFloat) * factor;
  return linear;
}

NormConfig ReadNorm(const Shape& s, absl::string_view name,
                    WeightReader weights) {
  NormConfig norm = weights.Norm(name, s.dim, s.eps);
  norm.kind = NormKind::kLayer;
  if (s.has_bias)
    norm.bias = weights.Take(absl::StrCat(name, ".bias"), {s.dim});
  return norm;
}

GqaConfig ReadAttention(const Shape& s, const at::Tensor& layer_scale,
                        const WeightReader& weights) {
  GqaConfig gqa;
  gqa.num_heads = static_cast<int>(s.num_heads);
  gqa.num_kv_heads = gqa.num_heads;
  gqa.head_dim = static_cast<int>(s.head_dim());
  for (std::size_t b = 0; b < s.types.size(); ++b) {
    BankReader bank(s, b, weights);
    GqaWeights gqa_weights;
    gqa_weights.q = bank.Linear("q", s.dim, s.dim, s.has_bias);
    gqa_weights.k = bank.Linear("k", s.dim, s.dim, s.has_bias);
    gqa_weights.v = bank.Linear("v", s.dim, s.dim, s.has_bias);
    gqa_weights.o =
        Scaled(bank.Linear("proj", s.dim, s.dim, s.has_bias), layer_scale);
    gqa.banks.push_back(std::move(gqa_weights));
  }
  if (s.has_rope) {
    // An odd head has one element more than its pairs: it stays as it is.
    gqa.rope.inverse_frequencies =
        DefaultFrequencies(s.max_wavelength, s.head_dim() / 2 * 2);
    gqa.rope.pairing = s.pairing;
  }
  return gqa;
}

// Its linears have biases whatever the block's `bias` says.
BankedFfnConfig ReadMlp(const Shape& s, const at::Tensor& layer_scale,
                        const WeightReader& weights) {
  BankedFfnConfig mlp;
  for (std::size_t b = 0; b < s.types.size(); ++b) {
    BankReader bank(s, b, weights);
    DenseFfnConfig ffn;
    ffn.activation = Activation::kGelu;
    ffn.up = bank.Linear("layers.0", s.mlp_dim, s.dim, /*is_biased=*/true);
    ffn.down =
        Scaled(bank.Linear("layers.1", s.dim, s.mlp_dim, /*is_biased=*/true),
               layer_scale);
    mlp.banks.push_back(std::move(ffn));
  }
  return mlp;
}

LayerConfig ReadLayer(const Shape& s, WeightReader weights) {
  at::Tensor attention_scale;
  at::Tensor mlp_scale;
  if (s.has_layer_scale) {
    attention_scale = weights.Take("ls1.gamma", {s.dim});
    mlp_scale = weights.Take("ls2.gamma", {s.dim});
  }
  LayerConfig layer;
  layer.attention_norm = ReadNorm(s, "norm1", weights);
  layer.attention =
      ReadAttention(s, attention_scale, weights.Under("attention_block"));
  layer.ffn_norm = ReadNorm(s, "norm2", weights);
  layer.ffn = ReadMlp(s, mlp_scale, weights.Under("mlp"));
  return layer;
}

// ---- The policy ---------------------------------------------------------

void AddTypedTokens(const Shape& s, PolicyDescription* policy) {
  FieldSpec tokens;
  tokens.name = "tokens";
  tokens.shape = {-1, s.dim};
  FieldSpec types;
  types.name = "token_types";
  types.dtype = DType::kInt64;
  types.shape = {-1};
  types.min = 0;
  types.max = static_cast<std::int64_t>(s.types.size()) - 1;
  types.value_names = s.types;
  types.same_length_as = tokens.name;
  policy->fields = {std::move(tokens), std::move(types)};

  FieldEmbedding given;
  given.field = 0;
  given.content = GivenEmbedding{};
  given.bank_field = 1;
  policy->embedder.hidden_dim = s.dim;
  policy->embedder.num_banks = static_cast<int>(s.types.size());
  policy->embedder.fields = {std::move(given)};
}

absl::StatusOr<PolicyDescription> ReadNoetherUntied(const ConfigFile& config,
                                                    TensorSource* source) {
  absl::Status error;
  ConfigReader reader(config.json, config.path, &error);
  const Shape s = ReadShape(&reader);
  if (!error.ok()) return error;

  WeightReader weights(source, &error);
  PolicyDescription policy;
  policy.summary =
      absl::StrCat("noether untied, ", s.types.size(), " token types, ",
                   s.depth, " layers, width ", s.dim);
  policy.decoder.hidden_dim = s.dim;
  StageConfig stage;
  for (std::int64_t i = 0; i < s.depth && weights.ok(); ++i) {
    stage.layers.push_back(
        ReadLayer(s, weights.Under(absl::StrCat("blocks.", i))));
  }
  policy.decoder.stages.push_back(std::move(stage));
  AddTypedTokens(s, &policy);
  if (!error.ok()) return error;
  return policy;
}

bool IsNoetherUntied(const nlohmann::json& config) {
  const auto family = config.find("family");
  return family != config.end() && *family == "noether_untied";
}

}  // namespace

const Format kNoetherUntied = {"noether untied",
                               "\"family\": \"noether_untied\"",
                               IsNoetherUntied, ReadNoetherUntied};

}  // namespace stepd::checkpoint
