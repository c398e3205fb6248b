// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/hugging_face.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/checkpoint/weight_groups.h"
#include "nlohmann/json.hpp"
#include "tests/model/checkpoint/golden_checkpoint.h"
#include "tests/model/checkpoint/weights_files.h"

namespace stepd::checkpoint {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr const char* kCases[] = {"llama3_rope",    "llama_attn_noop_first",
                                  "llama_hetero",   "llama_linear",
                                  "llama_noop_mix", "qwen3_hetero_tied"};

GoldenCheckpoint LoadCase(const std::string& name) {
  return LoadGolden("puzzletron/" + name);
}

json LoadEpisode(const std::string& name) {
  return json::parse(ReadTestFile(fs::path("tests/golden/puzzletron") / name /
                                  "episode.json"));
}

absl::StatusOr<PolicyDescription> Read(const GoldenCheckpoint& checkpoint) {
  return Read(kHuggingFace, checkpoint);
}

std::string ErrorOf(const GoldenCheckpoint& checkpoint) {
  return ErrorOf(kHuggingFace, checkpoint);
}

// --- every recorded checkpoint -----------------------------------------------

class RecordedCase : public ::testing::TestWithParam<const char*> {};

INSTANTIATE_TEST_SUITE_P(HuggingFace, RecordedCase, ::testing::ValuesIn(kCases),
                         [](const auto& info) {
                           return std::string(info.param);
                         });

// The recorded overrides have null where nothing is left to override.
TEST_P(RecordedCase, HasTheRecordedSizesInEveryLayer) {
  const json overrides = LoadEpisode(GetParam())["layer_overrides"];

  const auto policy = Read(LoadCase(GetParam()));

  ASSERT_TRUE(policy.ok()) << policy.status();
  const std::vector<LayerConfig>& layers = policy->decoder.stages[0].layers;
  if (overrides.is_null()) return;
  ASSERT_THAT(layers, SizeIs(overrides.size()));
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const auto* gqa = std::get_if<GqaConfig>(&layers[i].attention);
    const auto* ffn = std::get_if<DenseFfnConfig>(&layers[i].ffn);
    const json kv_heads = gqa == nullptr ? json() : json(gqa->num_kv_heads);
    const json ffn_dim = ffn == nullptr ? json() : json(ffn->down.in_dim());
    EXPECT_EQ(kv_heads, overrides[i]["num_key_value_heads"]) << "layer " << i;
    EXPECT_EQ(ffn_dim, overrides[i]["intermediate_size"]) << "layer " << i;
  }
}

// --- what else a config may say
// -----------------------------------------------

TEST(HuggingFace, ReadsTheSparseSchemaBeforeTheDenseOne) {
  GoldenCheckpoint checkpoint = LoadCase("llama_noop_mix");
  // The same layers: 0 whole, 1 no attention, 2 no ffn, 3 nothing, 4 whole.
  checkpoint.config["per_layer_config"] = json::parse(R"({
      "0": {"num_key_value_heads": 2, "intermediate_size": 40},
      "1": {"intermediate_size": 32, "skip": ["attention"]},
      "2": {"num_key_value_heads": 4, "skip": ["mlp"]},
      "3": {"skip": ["attention", "mlp"]},
      "4": {"num_key_value_heads": 1, "intermediate_size": 16}})");
  checkpoint.config["block_configs"] = "not looked at";

  const auto policy = Read(checkpoint);

  ASSERT_TRUE(policy.ok()) << policy.status();
  const std::vector<LayerConfig>& layers = policy->decoder.stages[0].layers;
  ASSERT_THAT(layers, SizeIs(5));
  EXPECT_TRUE(std::holds_alternative<NoOp>(layers[1].attention));
  EXPECT_TRUE(std::holds_alternative<NoOp>(layers[2].ffn));
  EXPECT_TRUE(std::holds_alternative<NoOp>(layers[3].attention));
  EXPECT_TRUE(std::holds_alternative<NoOp>(layers[3].ffn));
  EXPECT_FALSE(layers[3].ffn_norm.weight.defined());
}

TEST(HuggingFace, ReadsBothStylesOfRopeAlike) {
  GoldenCheckpoint checkpoint = LoadCase("llama_hetero");
  checkpoint.config["rope_parameters"] = {{"rope_theta", 500.0}};
  const auto new_style = Read(checkpoint);
  checkpoint.config.erase("rope_parameters");
  checkpoint.config["rope_theta"] = 500.0;
  checkpoint.config["rope_scaling"] = nullptr;
  const auto old_style = Read(checkpoint);

  ASSERT_TRUE(new_style.ok()) << new_style.status();
  ASSERT_TRUE(old_style.ok()) << old_style.status();
  const auto rope = [](const PolicyDescription& policy) {
    return std::get<GqaConfig>(policy.decoder.stages[0].layers[0].attention)
        .rope.inverse_frequencies;
  };
  EXPECT_EQ(rope(*new_style), rope(*old_style));
  EXPECT_FLOAT_EQ(rope(*new_style)[1], 1.0F / std::sqrt(std::sqrt(500.0F)));
}

// Queries, keys and values have biases, the output projection has none.
TEST(HuggingFace, ReadsTheBiasesOfQwen2) {
  GoldenCheckpoint checkpoint = LoadCase("llama_hetero");
  checkpoint.config["model_type"] = "qwen2";
  const std::vector<std::int64_t> kv_heads = {4, 2, 1, 2};
  for (std::size_t i = 0; i < kv_heads.size(); ++i) {
    for (const std::string name : {"q", "k", "v"}) {
      const std::string bias =
          absl::StrCat("model.layers.", i, ".self_attn.", name, "_proj.bias");
      EXPECT_EQ(ErrorOf(checkpoint),
                absl::StrCat("dir/weights: tensor '", bias, "' is missing"));
      StoredTensor tensor = checkpoint.tensors[0];
      tensor.name = bias;
      tensor.shape = {8 * (name == "q" ? 4 : kv_heads[i])};
      tensor.strides = {1};
      tensor.bytes = tensor.bytes.substr(
          0, static_cast<std::size_t>(tensor.shape[0]) * sizeof(float));
      checkpoint.tensors.push_back(std::move(tensor));
    }
  }

  const auto policy = Read(checkpoint);

  ASSERT_TRUE(policy.ok()) << policy.status();
  const auto& gqa =
      std::get<GqaConfig>(policy->decoder.stages[0].layers[2].attention);
  EXPECT_EQ(gqa.banks[0].k.bias.numel(), 8);
  EXPECT_FALSE(gqa.banks[0].o.bias.defined());
}

std::vector<std::int64_t> WindowsOf(const GoldenCheckpoint& checkpoint) {
  const auto policy = Read(checkpoint);
  EXPECT_TRUE(policy.ok()) << policy.status();
  std::vector<std::int64_t> windows;
  for (const LayerConfig& layer : policy->decoder.stages[0].layers) {
    const auto* gqa = std::get_if<GqaConfig>(&layer.attention);
    windows.push_back(gqa == nullptr ? -2 : gqa->window_left);
  }
  return windows;
}

// A token sees itself and window - 1 tokens before it.
TEST(HuggingFace, SlidesInTheLayersThatTheConfigNames) {
  GoldenCheckpoint checkpoint = LoadCase("qwen3_hetero_tied");  // 1: no-op
  EXPECT_THAT(WindowsOf(checkpoint), ElementsAre(-1, -2, -1, -1));

  checkpoint.config["use_sliding_window"] = true;
  checkpoint.config["sliding_window"] = 7;
  checkpoint.config["layer_types"][2] = "sliding_attention";
  EXPECT_THAT(WindowsOf(checkpoint), ElementsAre(-1, -2, 6, -1));

  checkpoint.config.erase("layer_types");
  checkpoint.config["max_window_layers"] = 1;
  EXPECT_THAT(WindowsOf(checkpoint), ElementsAre(-1, -2, 6, 6));

  checkpoint.config["use_sliding_window"] = false;
  EXPECT_THAT(WindowsOf(checkpoint), ElementsAre(-1, -2, -1, -1));
}

// --- the mistakes that were recorded -----------------------------------------

// What the original did with it is in errors.json; here is what stepd does.
struct Mistake {
  const char* name;  // of errors.json
  void (*make)(GoldenCheckpoint* checkpoint);
  const char* error;  // nullptr: it changes nothing, and is accepted
};

json& Block(GoldenCheckpoint* checkpoint, int layer) {
  return checkpoint->config["block_configs"][layer];
}

void AddTensor(const std::string& name, GoldenCheckpoint* checkpoint) {
  checkpoint->tensors.push_back(checkpoint->tensors[0]);
  checkpoint->tensors.back().name = name;
}

// Of llama_hetero, with 4 layers and 4 heads.
constexpr Mistake kMistakes[] = {
    {"attention without num_key_value_heads and not no_op",
     [](GoldenCheckpoint* c) {
       Block(c, 1)["attention"]["num_key_value_heads"] = nullptr;
     },
     "block_configs.1.attention.num_key_value_heads: is null"},
    {"ffn without intermediate_size",
     [](GoldenCheckpoint* c) { Block(c, 2)["ffn"].erase("intermediate_size"); },
     "block_configs.2.ffn.intermediate_size: is missing"},
    {"no_op and replace_with_linear together",
     [](GoldenCheckpoint* c) {
       Block(c, 1)["attention"]["no_op"] = true;
       Block(c, 1)["attention"]["replace_with_linear"] = true;
     },
     "block_configs.1.attention.replace_with_linear: contradicts no_op"},
    {"no_op and mamba together",
     [](GoldenCheckpoint* c) {
       Block(c, 1)["attention"]["no_op"] = true;
       Block(c, 1)["attention"]["mamba"] = json::object();
     },
     "block_configs.1.attention.mamba: is not supported"},
    {"no_op with num_key_value_heads given: value dropped to None",
     [](GoldenCheckpoint* c) {
       Block(c, 1)["attention"]["no_op"] = true;
       const auto is_of_it = [](const StoredTensor& tensor) {
         const auto group = FindWeightGroup(tensor.name);
         return group->part == WeightPart::kAttention && group->layer == 1;
       };
       c->tensors.erase(
           std::remove_if(c->tensors.begin(), c->tensors.end(), is_of_it),
           c->tensors.end());
     },
     nullptr},
    {"unknown key inside attention (warned and dropped)",
     [](GoldenCheckpoint* c) { Block(c, 0)["attention"]["foo"] = 1; }, nullptr},
    {"unknown key at block level",
     [](GoldenCheckpoint* c) { Block(c, 1)["foo"] = 1; },
     "block_configs.1.foo: is not"},
    {"moe num_experts_per_tok > num_local_experts",
     [](GoldenCheckpoint* c) {
       Block(c, 3)["ffn"]["moe"] = {{"num_local_experts", 2},
                                    {"num_experts_per_tok", 3}};
     },
     "block_configs.3.ffn.moe: is not supported"},
    {"block_configs shorter than num_hidden_layers",
     [](GoldenCheckpoint* c) { c->config["block_configs"].erase(3); },
     "block_configs: has 3 entries, but there are 4 layers"},
    {"block_configs longer than num_hidden_layers (extra ignored)",
     [](GoldenCheckpoint* c) {
       c->config["block_configs"].push_back(Block(c, 0));
     },
     nullptr},
    {"kv heads not dividing heads (not checked at build)",
     [](GoldenCheckpoint* c) {
       Block(c, 2)["attention"]["num_key_value_heads"] = 3;
     },
     "num_key_value_heads: of layer 2, 3, must divide num_attention_heads, 4"},
    {"block_configs empty list = homogeneous model",
     [](GoldenCheckpoint* c) { c->config["block_configs"] = json::array(); },
     "block_configs: has 0 entries, but there are 4 layers"},
    {"attention null (parallel_blocks only)",
     [](GoldenCheckpoint* c) {
       Block(c, 0)["attention"] = nullptr;
       Block(c, 0)["parallel_blocks"] = json::array({json::object()});
     },
     "block_configs.0.parallel_blocks: is not supported"},
    {"replace_with_linear (silently a normal layer)",
     [](GoldenCheckpoint* c) {
       Block(c, 2)["ffn"]["replace_with_linear"] = true;
     },
     "tensor 'model.layers.2.mlp.linear_mlp.weight' is missing"},
    {"weight name outside every group",
     [](GoldenCheckpoint* c) {
       AddTensor("model.layers.0.self_attn.q_proj.bias", c);
     },
     "no place for: 'model.layers.0.self_attn.q_proj.bias'"},
    {"rotary inv_freq in the weight list",
     [](GoldenCheckpoint* c) {
       AddTensor("model.layers.0.self_attn.rotary_emb.inv_freq", c);
     },
     nullptr},
    {"layer index beyond num_hidden_layers",
     [](GoldenCheckpoint* c) {
       AddTensor("model.layers.4.mlp.up_proj.weight", c);
     },
     "no place for: 'model.layers.4.mlp.up_proj.weight'"},
};

TEST(RecordedMistakes, AreAllKnown) {
  const json recorded =
      json::parse(ReadTestFile("tests/golden/puzzletron/errors.json"));
  std::vector<std::string> names;
  for (const json& mistake : recorded) names.push_back(mistake["case"]);
  std::vector<std::string> known;
  for (const Mistake& mistake : kMistakes) known.emplace_back(mistake.name);

  EXPECT_EQ(known, names);
}

TEST(RecordedMistakes, AreNamedOrChangeNothing) {
  for (const Mistake& mistake : kMistakes) {
    GoldenCheckpoint checkpoint = LoadCase("llama_hetero");
    mistake.make(&checkpoint);

    const absl::Status status = Read(checkpoint).status();

    if (mistake.error == nullptr) {
      EXPECT_TRUE(status.ok()) << mistake.name << ": " << status;
    } else {
      EXPECT_THAT(std::string(status.message()), HasSubstr(mistake.error))
          << mistake.name;
    }
  }
}

// --- damage ------------------------------------------------------------------

class DamagedHuggingFace : public ::testing::TestWithParam<const char*> {
 protected:
  GoldenCheckpoint whole() const { return LoadCase(GetParam()); }
};

INSTANTIATE_TEST_SUITE_P(Checkpoints, DamagedHuggingFace,
                         ::testing::ValuesIn(kCases), [](const auto& info) {
                           return std::string(info.param);
                         });

TEST_P(DamagedHuggingFace, NamesEachMissingTensor) {
  ExpectMissingTensorsNamed(kHuggingFace, whole());
}

TEST_P(DamagedHuggingFace, NamesEachExtraTensor) {
  ExpectExtraTensorsNamed(kHuggingFace, whole());
}

TEST_P(DamagedHuggingFace, NamesEachMisshapenTensor) {
  ExpectMisshapenTensorsNamed(kHuggingFace, whole());
}

TEST_P(DamagedHuggingFace, NamesEachTensorOfIntegers) {
  ExpectIntegerTensorsNamed(kHuggingFace, whole());
}

// Keys that change nothing, whatever they hold; model_type decides whether this
// format is asked at all; the others are refused whole (below).
const std::vector<std::string>& IgnoredKeys() {
  static const auto* const keys =
      new std::vector<std::string>{"architectures",
                                   "attention_dropout",
                                   "bos_token_id",
                                   "dtype",
                                   "eos_token_id",
                                   "initializer_range",
                                   "model_type",
                                   "pad_token_id",
                                   "pretraining_tp",
                                   "torch_dtype",
                                   "transformers_version",
                                   "use_cache",
                                   "weights_precision",
                                   "llama4",
                                   "mamba",
                                   "moe",
                                   "parallel_blocks",
                                   "sparsify"};
  return *keys;
}

TEST(HuggingFace, NamesEachKeyOfAnotherType) {
  ExpectKeysOfAnotherTypeNamed(kHuggingFace, LoadCase("llama_hetero"),
                               IgnoredKeys());
}

class WrongValueHuggingFace : public ::testing::TestWithParam<WrongValue> {};

TEST_P(WrongValueHuggingFace, IsNamed) {
  ExpectWrongValueNamed(kHuggingFace, LoadCase(GetParam().checkpoint),
                        GetParam());
}

constexpr char kHetero[] = "llama_hetero";
constexpr char kQwen3[] = "qwen3_hetero_tied";

INSTANTIATE_TEST_SUITE_P(
    Configs, WrongValueHuggingFace,
    ::testing::ValuesIn(std::vector<WrongValue>{
        {"Llama4", kHetero, "/block_configs/0/attention/llama4", "{}",
         "block_configs.0.attention.llama4: is not supported"},
        {"Sparsify", kHetero, "/block_configs/0/ffn/sparsify", "{}",
         "block_configs.0.ffn.sparsify: is not supported"},
        {"ParallelBlocks", kHetero, "/block_configs/0/parallel_blocks", "[{}]",
         "block_configs.0.parallel_blocks: is not supported"},
        {"LayerBeyond", kHetero, "/per_layer_config",
         R"({"4": {"skip": ["mlp"]}})",
         "per_layer_config.4: is none of the 4 layers"},
        {"LayerByName", kHetero, "/per_layer_config",
         R"({"last": {"skip": ["mlp"]}})",
         "per_layer_config.last: is none of the 4 layers"},
        {"SkipOfSomethingElse", kHetero, "/per_layer_config",
         R"({"1": {"skip": ["norm"]}})",
         "per_layer_config.1.skip: has an entry that is neither attention nor "
         "mlp"},
        {"SkipOfAWord", kHetero, "/per_layer_config",
         R"({"1": {"skip": "mlp"}})",
         "per_layer_config.1.skip: must be an array"},
        {"UnknownOverride", kHetero, "/per_layer_config",
         R"({"1": {"hidden_size": 16}})",
         "per_layer_config.1.hidden_size: is "
         "not"},
        {"Activation", kHetero, "/hidden_act", "\"tanh\"",
         "hidden_act: is none of silu, gelu, relu"},
        {"OddHeads", kHetero, "/head_dim", "7", "head_dim: must be even"},
        {"RopeType", kHetero, "/rope_parameters/rope_type", "\"yarn\"",
         "rope_parameters.rope_type: is neither default nor llama3"},
        {"OldRopeType", "llama3_rope", "/rope_scaling/rope_type", "\"dynamic\"",
         "rope_scaling.rope_type: is neither default nor llama3"},
        {"NoFactor", "llama3_rope", "/rope_scaling/factor", nullptr,
         "rope_scaling.factor: is missing"},
        {"RopeThetaOfAWord", "llama3_rope", "/rope_theta", "\"big\"",
         "rope_theta: must be a number"},
        {"SlidingWindow", kQwen3, "/sliding_window", "0",
         "sliding_window: must be"},
        {"SlidingLlama", kHetero, "/use_sliding_window", "true",
         "use_sliding_window: means nothing to a llama"},
        {"SlidingLayer", kQwen3, "/layer_types/2", "\"sliding_attention\"",
         "layer_types: of layer 2 contradicts use_sliding_window"},
        {"ChunkedLayer", kQwen3, "/layer_types/2", "\"chunked_attention\"",
         "layer_types: has an entry that is neither full_attention nor "
         "sliding_attention"},
        {"TooFewLayerTypes", kQwen3, "/layer_types", "[\"full_attention\"]",
         "layer_types: must be an array of 4 names"},
        {"LayerTypesOfAWord", kQwen3, "/layer_types", "\"full_attention\"",
         "layer_types: must be an array of 4 names"},
    }),
    [](const auto& info) { return std::string(info.param.name); });

TEST(HuggingFace, LeavesOtherModelTypesToOthers) {
  EXPECT_TRUE(
      kHuggingFace.recognise(json::parse(R"({"model_type": "qwen2"})")));
  EXPECT_FALSE(
      kHuggingFace.recognise(json::parse(R"({"model_type": "gpt_oss"})")));
  EXPECT_FALSE(kHuggingFace.recognise(json::parse(R"({"model_type": 1})")));
  EXPECT_FALSE(kHuggingFace.recognise(json::parse("{}")));
}

}  // namespace
}  // namespace stepd::checkpoint
