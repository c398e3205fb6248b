// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/hugging_face.h"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/checkpoint/block_configs.h"
#include "model/checkpoint/config_reader.h"
#include "model/checkpoint/projections.h"
#include "model/checkpoint/rope_parameters.h"
#include "model/checkpoint/token_fields.h"
#include "model/checkpoint/weight_groups.h"
#include "model/checkpoint/weight_reader.h"

namespace stepd::checkpoint {
namespace {

using nlohmann::json;

// What the library assumes where a config is silent.
struct Defaults {
  const char* model_type;
  std::int64_t vocabulary;
  std::int64_t ffn_dim;
  std::int64_t max_positions;
  std::int64_t head_dim;      // 0: hidden_size / num_attention_heads
  std::int64_t num_kv_heads;  // 0: num_attention_heads
};

constexpr Defaults kModelTypes[] = {
    {"llama", 32000, 11008, 2048, 0, 0},
    {"qwen2", 151936, 22016, 32768, 0, 32},
    {"qwen3", 151936, 22016, 32768, 128, 32},
};

struct Shape {
  std::string model_type;
  std::int64_t vocabulary = 0;
  std::int64_t dim = 0;
  std::int64_t num_heads = 0;
  std::int64_t head_dim = 0;
  double norm_eps = 0;
  Bias qkv_bias = Bias::kAbsent;
  Bias o_bias = Bias::kAbsent;
  Bias ffn_bias = Bias::kAbsent;
  bool has_qk_norm = false;
  bool has_tied_head = false;
  Activation activation = Activation::kSilu;
  RopeConfig rope;
  std::vector<Block> blocks;          // one per layer
  std::vector<std::int64_t> windows;  // window_left of each
  LayerRange owned;                   // that are read

  bool owns_first() const { return owned.begin == 0; }
  bool owns_last() const {
    return owned.end == static_cast<int>(blocks.size());
  }
};

const Defaults* FindModelType(const json& config) {
  const auto type = config.find("model_type");
  if (type == config.end() || !type->is_string()) return nullptr;
  for (const Defaults& defaults : kModelTypes) {
    if (*type == defaults.model_type) return &defaults;
  }
  return nullptr;
}

// ---- config.json --------------------------------------------------------

void ReadActivation(ConfigReader* config, Shape* shape) {
  const std::string name = config->OptionalString("hidden_act", "silu");
  if (name == "gelu") {
    shape->activation = Activation::kGelu;
  } else if (name == "relu") {
    shape->activation = Activation::kRelu;
  } else if (name != "silu") {
    config->Fail("hidden_act", "is none of silu, gelu, relu");
  }
}

void ReadBiases(ConfigReader* config, Shape* shape) {
  const auto bias = [](bool is_there) {
    return is_there ? Bias::kPresent : Bias::kAbsent;
  };
  if (shape->model_type == "qwen2") {
    shape->qkv_bias = Bias::kPresent;
    return;
  }
  shape->qkv_bias = bias(config->OptionalBool("attention_bias", false));
  shape->o_bias = shape->qkv_bias;
  if (shape->model_type == "llama") {
    shape->ffn_bias = bias(config->OptionalBool("mlp_bias", false));
  }
}

// Which layers slide, where `layer_types` does not say.
std::vector<bool> DefaultSliding(std::size_t num_layers, ConfigReader* config) {
  const std::int64_t first =
      config->OptionalInt("max_window_layers", 28, {0, kMaxSize});
  std::vector<bool> sliding(num_layers);
  for (std::size_t i = 0; i < num_layers; ++i) {
    sliding[i] = static_cast<std::int64_t>(i) >= first;
  }
  return sliding;
}

// `types`: the key `layer_types`.
std::vector<bool> ReadSliding(const json& types, std::size_t num_layers,
                              ConfigReader* config) {
  std::vector<bool> sliding(num_layers);
  if (!types.is_array() || types.size() != num_layers) {
    config->Fail("layer_types",
                 absl::StrCat("must be an array of ", num_layers, " names"));
    return sliding;
  }
  for (std::size_t i = 0; i < num_layers; ++i) {
    sliding[i] = types[i] == "sliding_attention";
    if (!sliding[i] && types[i] != "full_attention") {
      config->Fail("layer_types",
                   "has an entry that is neither "
                   "full_attention nor sliding_attention");
    }
  }
  return sliding;
}

// GqaConfig::window_left of every layer.
std::vector<std::int64_t> ReadWindows(const json& file, std::size_t num_layers,
                                      ConfigReader* config) {
  const bool slides = config->OptionalBool("use_sliding_window", false);
  const std::int64_t window = config->OptionalInt("sliding_window", 4096);
  const bool has_types = config->Has("layer_types");
  const std::vector<bool> sliding =
      has_types ? ReadSliding(file["layer_types"], num_layers, config)
                : DefaultSliding(num_layers, config);
  std::vector<std::int64_t> windows(num_layers, -1);
  for (std::size_t i = 0; i < num_layers && config->ok(); ++i) {
    if (slides && sliding[i]) windows[i] = window - 1;
    if (!slides && sliding[i] && has_types) {
      config->Fail("layer_types", absl::StrCat("of layer ", i,
                                               " contradicts "
                                               "use_sliding_window"));
    }
  }
  return windows;
}

// Either `rope_parameters`, or `rope_theta` beside `rope_scaling`.
RopeConfig ReadRope(const ConfigFile& file, const RopeGeometry& geometry,
                    absl::Status* error) {
  ConfigReader config(file.json, file.path, error);
  json merged = json::object();
  const bool has_scaling = config.OptionalObject("rope_scaling").has_value();
  const bool has_parameters =
      config.OptionalObject("rope_parameters").has_value();
  config.OptionalNumber("rope_theta", 1.0);
  if (!config.ok()) return {};
  if (has_scaling) merged = file.json["rope_scaling"];
  if (config.Has("rope_theta")) merged["rope_theta"] = file.json["rope_theta"];
  if (has_parameters) merged.update(file.json["rope_parameters"]);
  const char* const name = has_parameters ? "rope_parameters" : "rope_scaling";
  const json parent = {{name, std::move(merged)}};
  ConfigReader reader =
      ConfigReader(parent, file.path, error).RequireObject(name);
  const std::string old_name = reader.OptionalString("type", "default");
  const std::string type = reader.OptionalString("rope_type", old_name);
  if (type != "default" && type != "llama3") {
    reader.Fail("rope_type", "is neither default nor llama3");
    return {};
  }
  return ReadRopeParameters(reader, geometry);
}

Shape ReadShape(const ConfigFile& file, absl::Status* error) {
  const Defaults& defaults = *FindModelType(file.json);
  ConfigReader config(file.json, file.path, error);
  Shape shape;
  shape.model_type = defaults.model_type;
  shape.vocabulary = config.OptionalInt("vocab_size", defaults.vocabulary);
  shape.dim = config.OptionalInt("hidden_size", 4096);
  shape.num_heads = config.OptionalInt("num_attention_heads", 32);
  const std::int64_t head_dim =
      defaults.head_dim != 0 ? defaults.head_dim : shape.dim / shape.num_heads;
  shape.head_dim = config.OptionalInt("head_dim", head_dim);
  shape.norm_eps = config.OptionalNumber("rms_norm_eps", 1e-6, kPositive);
  shape.has_tied_head = config.OptionalBool("tie_word_embeddings", false);
  shape.has_qk_norm = shape.model_type == "qwen3";
  ReadActivation(&config, &shape);
  ReadBiases(&config, &shape);
  if (shape.head_dim < 2 || shape.head_dim % 2 != 0) {
    config.Fail("head_dim", "must be even");
  }

  Block whole;
  whole.num_kv_heads = config.OptionalInt(
      "num_key_value_heads",
      defaults.num_kv_heads != 0 ? defaults.num_kv_heads : shape.num_heads);
  whole.ffn_dim = config.OptionalInt("intermediate_size", defaults.ffn_dim);
  const std::int64_t num_layers =
      config.OptionalInt("num_hidden_layers", 32, {1, 1 << 16});
  const std::int64_t max_positions =
      config.OptionalInt("max_position_embeddings", defaults.max_positions);
  if (!config.ok()) return shape;
  shape.rope = ReadRope(file, {shape.head_dim, max_positions}, error);
  shape.blocks.assign(static_cast<std::size_t>(num_layers), whole);
  shape.owned =
      file.options.layers.value_or(LayerRange{0, static_cast<int>(num_layers)});
  if (shape.owned.begin < 0 || shape.owned.begin >= shape.owned.end ||
      shape.owned.end > num_layers) {
    config.Fail("num_hidden_layers",
                absl::StrCat("is ", num_layers, "; ", shape.owned.begin, ":",
                             shape.owned.end, " is no range of these layers"));
  }
  shape.windows = ReadWindows(file.json, shape.blocks.size(), &config);
  if (shape.model_type == "llama" &&
      config.OptionalBool("use_sliding_window", false)) {
    config.Fail("use_sliding_window", "means nothing to a llama");
  }
  ReadBlocks(file.json, &config, &shape.blocks);
  for (std::size_t i = 0; i < shape.blocks.size() && config.ok(); ++i) {
    const Block& block = shape.blocks[i];
    if (block.attention == BlockPart::kWhole &&
        shape.num_heads % block.num_kv_heads != 0) {
      config.Fail(
          "num_key_value_heads",
          absl::StrCat("of layer ", i, ", ", block.num_kv_heads,
                       ", must divide num_attention_heads, ", shape.num_heads));
    }
  }
  return shape;
}

// ---- Weights ------------------------------------------------------------

AttentionConfig ReadAttention(const Shape& s, std::size_t layer,
                              WeightReader weights) {
  const Block& block = s.blocks[layer];
  if (block.attention == BlockPart::kLinear) {
    return LinearMixer{
        weights.Linear("linear_attn", s.dim, s.dim, Bias::kAbsent)};
  }
  GqaShape shape = {s.dim, s.num_heads, block.num_kv_heads, s.head_dim};
  shape.qkv_bias = s.qkv_bias;
  shape.o_bias = s.o_bias;
  if (s.has_qk_norm) shape.qk_norm_eps = s.norm_eps;
  GqaConfig gqa = ReadGqa(shape, weights);
  gqa.rope = s.rope;
  gqa.window_left = s.windows[layer];
  weights.Ignore("rotary_emb.inv_freq");
  return gqa;
}

FfnConfig ReadFfn(const Shape& s, const Block& block, WeightReader weights) {
  if (block.ffn == BlockPart::kLinear) {
    return LinearMixer{
        weights.Linear("linear_mlp", s.dim, s.dim, Bias::kAbsent)};
  }
  DenseFfnConfig ffn = ReadGatedFfn(s.dim, block.ffn_dim, s.ffn_bias, weights);
  ffn.activation = s.activation;
  return ffn;
}

LayerConfig ReadLayer(const Shape& s, std::size_t number,
                      WeightReader weights) {
  const Block& block = s.blocks[number];
  LayerConfig layer;
  if (block.attention != BlockPart::kNoOp) {
    layer.attention_norm = weights.Norm("input_layernorm", s.dim, s.norm_eps);
    layer.attention = ReadAttention(s, number, weights.Under("self_attn"));
  }
  if (block.ffn != BlockPart::kNoOp) {
    layer.ffn_norm =
        weights.Norm("post_attention_layernorm", s.dim, s.norm_eps);
    layer.ffn = ReadFfn(s, block, weights.Under("mlp"));
  }
  return layer;
}

// What is before the first layer and after the last one, as far as owned.
void ReadEnds(const Shape& s, WeightReader weights, PolicyDescription* policy) {
  WeightReader model = weights.Under("model");
  at::Tensor embedding;
  if (s.owns_first() || (s.owns_last() && s.has_tied_head)) {
    embedding = model.Take("embed_tokens.weight", {s.vocabulary, s.dim});
  }
  at::Tensor head = embedding;
  if (s.has_tied_head) {
    weights.Ignore("lm_head.weight");
  } else if (s.owns_last()) {
    head = weights.Take("lm_head.weight", {s.vocabulary, s.dim});
  }
  if (s.owns_last()) {
    policy->decoder.final_norm = model.Norm("norm", s.dim, s.norm_eps);
  }
  if (!weights.ok()) return;
  if (s.owns_first()) {
    AddTokenInputs(embedding, policy);
  } else {
    AddEmbeddingInput(policy);
  }
  if (s.owns_last()) AddLogits(head, policy);
}

absl::StatusOr<PolicyDescription> ReadHuggingFace(const ConfigFile& config,
                                                  TensorSource* source) {
  absl::Status error;
  const Shape s = ReadShape(config, &error);
  if (!error.ok()) return error;

  WeightReader weights(source, &error);
  WeightReader model = weights.Under("model");
  PolicyDescription policy;
  const bool is_whole = s.owns_first() && s.owns_last();
  policy.summary = absl::StrCat(
      s.model_type, ", ",
      is_whole ? "" : absl::StrCat(s.owned.begin, ":", s.owned.end, " of "),
      s.blocks.size(), " layers, width ", s.dim);
  policy.decoder.hidden_dim = s.dim;
  StageConfig stage;
  for (int i = s.owned.begin; i < s.owned.end && error.ok(); ++i) {
    stage.layers.push_back(ReadLayer(s, static_cast<std::size_t>(i),
                                     model.Under(absl::StrCat("layers.", i))));
  }
  policy.decoder.stages.push_back(std::move(stage));
  model.Ignore("rotary_emb.inv_freq");
  ReadEnds(s, weights, &policy);
  if (!error.ok()) return error;
  return policy;
}

// The tensors that the owned layers need. One that is of no group is wanted
// too: it is then refused by name.
absl::StatusOr<TensorFilter> SelectTensors(const ConfigFile& config) {
  absl::Status error;
  const Shape s = ReadShape(config, &error);
  if (!error.ok()) return error;
  const LayerRange owned = s.owned;
  const bool has_head = s.owns_last();
  const bool has_embeddings = s.owns_first() || (has_head && s.has_tied_head);
  return TensorFilter([=](absl::string_view tensor) {
    const std::optional<WeightGroup> group = FindWeightGroup(tensor);
    if (!group.has_value()) return true;
    switch (group->part) {
      case WeightPart::kEmbeddings:
        return has_embeddings;
      case WeightPart::kLmHead:
        return has_head;
      case WeightPart::kAttention:
      case WeightPart::kFfn:
        return group->layer >= owned.begin &&
               (group->layer < owned.end || has_head);
    }
    std::abort();
  });
}

bool IsHuggingFace(const json& config) {
  return FindModelType(config) != nullptr && !config.contains("family");
}

}  // namespace

const Format kHuggingFace = {
    "Hugging Face and Puzzletron",
    "\"model_type\": \"llama\", \"qwen2\" or \"qwen3\"",
    IsHuggingFace,
    ReadHuggingFace,
    /*has_loops=*/false,
    SelectTensors};

}  // namespace stepd::checkpoint
