// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/hugging_face.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "model/checkpoint/config_reader.h"
#include "model/checkpoint/projections.h"
#include "model/checkpoint/rope_parameters.h"
#include "model/checkpoint/token_fields.h"
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

enum class Part { kWhole, kNoOp, kLinear };

// What is left of one layer.
struct Block {
  Part attention = Part::kWhole;
  std::int64_t num_kv_heads = 0;
  Part ffn = Part::kWhole;
  std::int64_t ffn_dim = 0;
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
  std::vector<Block> blocks;  // one per layer
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

void RefuseSlidingWindows(const json& config, ConfigReader* reader) {
  if (reader->OptionalBool("use_sliding_window", false)) {
    reader->Fail("use_sliding_window", "sliding windows are not supported");
  }
  const auto types = config.find("layer_types");
  if (types == config.end() || !types->is_array()) return;
  for (const json& type : *types) {
    if (type != "full_attention") {
      reader->Fail("layer_types", "has an entry other than full_attention");
    }
  }
}

// Either `rope_parameters`, or `rope_theta` beside `rope_scaling`.
RopeConfig ReadRope(const json& config, const std::string& path,
                    const RopeGeometry& geometry, absl::Status* error) {
  json merged = json::object();
  const auto take = [&](const char* key) {
    const auto found = config.find(key);
    if (found != config.end() && found->is_object()) merged.update(*found);
  };
  take("rope_scaling");
  const auto theta = config.find("rope_theta");
  if (theta != config.end()) merged["rope_theta"] = *theta;
  take("rope_parameters");
  const json type =
      merged.value("rope_type", merged.value("type", json("default")));
  ConfigReader reader(merged, absl::StrCat(path, ": rope_parameters"), error);
  if (type != "default" && type != "llama3") {
    reader.Fail("rope_type", "is neither default nor llama3");
    return {};
  }
  return ReadRopeParameters(reader, geometry);
}

// A subblock: refuses what no decoder here can run, says what is left.
Part ReadPart(ConfigReader* part) {
  for (const char* key : {"mamba", "llama4", "moe", "sparsify"}) {
    if (part->Has(key)) part->Fail(key, "is not supported");
  }
  const bool is_no_op = part->OptionalBool("no_op", false);
  const bool is_linear = part->OptionalBool("replace_with_linear", false);
  if (is_no_op && is_linear) {
    part->Fail("replace_with_linear", "contradicts no_op");
  }
  if (is_no_op) return Part::kNoOp;
  return is_linear ? Part::kLinear : Part::kWhole;
}

Block ReadBlock(const json& config, const std::string& where,
                absl::Status* error) {
  Block block;
  ConfigReader reader(config, where, error);
  if (reader.Has("parallel_blocks")) {
    reader.Fail("parallel_blocks", "is not supported");
  }
  reader.Ignore("parallel_blocks");
  ConfigReader attention = reader.RequireObject("attention");
  ConfigReader ffn = reader.RequireObject("ffn");
  reader.RefuseOtherKeys();
  if (!reader.ok()) return block;
  block.attention = ReadPart(&attention);
  block.ffn = ReadPart(&ffn);
  if (block.attention == Part::kWhole) {
    block.num_kv_heads = attention.RequireInt("num_key_value_heads");
  }
  if (block.ffn == Part::kWhole) {
    block.ffn_dim = ffn.RequireInt("intermediate_size");
  }
  return block;
}

// One entry of the sparse schema: {overrides, "skip": ["attention", "mlp"]}.
void OverrideBlock(const json& overrides, const std::string& where,
                   Block* block, absl::Status* error) {
  ConfigReader reader(overrides, where, error);
  block->num_kv_heads =
      reader.OptionalInt("num_key_value_heads", block->num_kv_heads);
  block->ffn_dim = reader.OptionalInt("intermediate_size", block->ffn_dim);
  reader.Ignore("skip");
  reader.RefuseOtherKeys();
  for (const json& skipped : overrides.value("skip", json::array())) {
    if (skipped == "attention") {
      block->attention = Part::kNoOp;
    } else if (skipped == "mlp") {
      block->ffn = Part::kNoOp;
    } else {
      reader.Fail("skip", "has an entry that is neither attention nor mlp");
    }
  }
}

// The sparse schema: {"<layer>": entry}.
void OverrideBlocks(const json& layers, const std::string& where,
                    std::vector<Block>* blocks, absl::Status* error) {
  ConfigReader reader(layers, where, error);
  for (const auto& [number, overrides] : layers.items()) {
    std::size_t layer = 0;
    if (!absl::SimpleAtoi(number, &layer) || layer >= blocks->size() ||
        !overrides.is_object()) {
      reader.Fail(number, "is no object for a layer of this model");
      return;
    }
    OverrideBlock(overrides, absl::StrCat(where, ".", number),
                  &(*blocks)[layer], error);
  }
}

// One entry for every layer.
void ReplaceBlocks(const json& list, const std::string& where,
                   std::vector<Block>* blocks, absl::Status* error) {
  for (std::size_t i = 0; i < blocks->size() && error->ok(); ++i) {
    const std::string entry = absl::StrCat(where, "[", i, "]");
    if (list[i].is_object()) {
      (*blocks)[i] = ReadBlock(list[i], entry, error);
    } else {
      *error =
          absl::InvalidArgumentError(absl::StrCat(entry, ": is no object"));
    }
  }
}

// `blocks` has one whole block for every layer.
void ReadBlocks(const json& config, const std::string& path,
                std::vector<Block>* blocks, absl::Status* error) {
  const auto sparse = config.find("per_layer_config");
  const auto dense = config.find("block_configs");
  if (sparse != config.end() && sparse->is_object()) {
    OverrideBlocks(*sparse, absl::StrCat(path, ": per_layer_config"), blocks,
                   error);
  } else if (dense != config.end() && !dense->is_null()) {
    if (!dense->is_array() || dense->size() < blocks->size()) {
      ConfigReader(config, path, error)
          .Fail("block_configs",
                absl::StrCat("is no list of ", blocks->size(), " layers"));
      return;
    }
    ReplaceBlocks(*dense, absl::StrCat(path, ": block_configs"), blocks, error);
  }
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
  RefuseSlidingWindows(file.json, &config);
  if (shape.head_dim % 2 != 0) config.Fail("head_dim", "must be even");

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
  shape.rope =
      ReadRope(file.json, file.path, {shape.head_dim, max_positions}, error);
  shape.blocks.assign(static_cast<std::size_t>(num_layers), whole);
  ReadBlocks(file.json, file.path, &shape.blocks, error);
  for (std::size_t i = 0; i < shape.blocks.size() && config.ok(); ++i) {
    const Block& block = shape.blocks[i];
    if (block.attention == Part::kWhole &&
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

AttentionConfig ReadAttention(const Shape& s, const Block& block,
                              WeightReader weights) {
  if (block.attention == Part::kLinear) {
    return LinearMixer{
        weights.Linear("linear_attn", s.dim, s.dim, Bias::kAbsent)};
  }
  GqaShape shape = {s.dim, s.num_heads, block.num_kv_heads, s.head_dim};
  shape.qkv_bias = s.qkv_bias;
  shape.o_bias = s.o_bias;
  if (s.has_qk_norm) shape.qk_norm_eps = s.norm_eps;
  GqaConfig gqa = ReadGqa(shape, weights);
  gqa.rope = s.rope;
  weights.Ignore("rotary_emb.inv_freq");
  return gqa;
}

FfnConfig ReadFfn(const Shape& s, const Block& block, WeightReader weights) {
  if (block.ffn == Part::kLinear) {
    return LinearMixer{
        weights.Linear("linear_mlp", s.dim, s.dim, Bias::kAbsent)};
  }
  DenseFfnConfig ffn = ReadGatedFfn(s.dim, block.ffn_dim, s.ffn_bias, weights);
  ffn.activation = s.activation;
  return ffn;
}

LayerConfig ReadLayer(const Shape& s, const Block& block,
                      WeightReader weights) {
  LayerConfig layer;
  if (block.attention != Part::kNoOp) {
    layer.attention_norm = weights.Norm("input_layernorm", s.dim, s.norm_eps);
    layer.attention = ReadAttention(s, block, weights.Under("self_attn"));
  }
  if (block.ffn != Part::kNoOp) {
    layer.ffn_norm =
        weights.Norm("post_attention_layernorm", s.dim, s.norm_eps);
    layer.ffn = ReadFfn(s, block, weights.Under("mlp"));
  }
  return layer;
}

absl::StatusOr<PolicyDescription> ReadHuggingFace(const ConfigFile& config,
                                                  TensorSource* source) {
  absl::Status error;
  const Shape s = ReadShape(config, &error);
  if (!error.ok()) return error;

  WeightReader weights(source, &error);
  WeightReader model = weights.Under("model");
  PolicyDescription policy;
  policy.summary = absl::StrCat(s.model_type, ", ", s.blocks.size(),
                                " layers, width ", s.dim);
  policy.decoder.hidden_dim = s.dim;
  StageConfig stage;
  for (std::size_t i = 0; i < s.blocks.size() && error.ok(); ++i) {
    stage.layers.push_back(
        ReadLayer(s, s.blocks[i], model.Under(absl::StrCat("layers.", i))));
  }
  policy.decoder.stages.push_back(std::move(stage));
  policy.decoder.final_norm = model.Norm("norm", s.dim, s.norm_eps);
  model.Ignore("rotary_emb.inv_freq");
  const at::Tensor embedding =
      model.Take("embed_tokens.weight", {s.vocabulary, s.dim});
  at::Tensor head = embedding;
  if (s.has_tied_head) {
    weights.Ignore("lm_head.weight");
  } else {
    head = weights.Take("lm_head.weight", {s.vocabulary, s.dim});
  }
  if (!error.ok()) return error;
  AddTokenFields(embedding, head, &policy);
  return policy;
}

bool IsHuggingFace(const json& config) {
  return FindModelType(config) != nullptr && !config.contains("family");
}

}  // namespace

const Format kHuggingFace = {
    "Hugging Face and Puzzletron",
    "\"model_type\": \"llama\", \"qwen2\" or \"qwen3\"", IsHuggingFace,
    ReadHuggingFace};

}  // namespace stepd::checkpoint
