// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/mouse_v03.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "ATen/ops/allclose.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/checkpoint/stored_tensor_source.h"
#include "tests/model/checkpoint/golden_checkpoint.h"

namespace stepd::checkpoint {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const fs::path kGolden = "tests/golden/mouse_v03";

GoldenCheckpoint LoadCase(const std::string& name) {
  return LoadGolden("mouse_v03/" + name);
}

absl::StatusOr<PolicyDescription> Read(const GoldenCheckpoint& checkpoint) {
  return Read(kMouseV03, checkpoint);
}

std::string ErrorOf(const GoldenCheckpoint& checkpoint) {
  return ErrorOf(kMouseV03, checkpoint);
}

const GqaConfig& AttentionOf(const PolicyDescription& policy, int layer) {
  return std::get<GqaConfig>(policy.decoder.stages[0].layers[layer].attention);
}

std::vector<std::string> FieldNames(const PolicyDescription& policy) {
  std::vector<std::string> names;
  for (const FieldSpec& field : policy.fields) names.push_back(field.name);
  return names;
}

std::vector<std::string> HeadNames(const PolicyDescription& policy) {
  std::vector<std::string> names;
  for (const auto& head : policy.heads) names.push_back(head.name);
  return names;
}

// --- every recorded checkpoint -----------------------------------------------

TEST(MouseV03, ReadsEveryRecordedCheckpointButDynamicRope) {
  int num_read = 0;
  for (const auto& entry : fs::directory_iterator(kGolden)) {
    const std::string name = entry.path().filename();
    const GoldenCheckpoint checkpoint = LoadCase(name);
    EXPECT_TRUE(kMouseV03.recognise(checkpoint.config)) << name;

    const auto policy = Read(checkpoint);

    if (name == "llama_dynamic_rope") {
      EXPECT_THAT(policy.status().message(),
                  HasSubstr("config.json: backbone_kwargs.rope_parameters."
                            "rope_type: 'dynamic' is refused"));
    } else {
      EXPECT_TRUE(policy.ok()) << name << ": " << policy.status();
      ++num_read;
    }
  }
  EXPECT_EQ(num_read, 15);
}

TEST(MouseV03, LeavesTheNewerFormatsToOthers) {
  EXPECT_FALSE(kMouseV03.recognise(
      json::parse(R"({"format": "mouse-core-model-v1", "hidden_dim": 32})")));
}

// --- what comes out ----------------------------------------------------------

TEST(MouseV03, DescribesFieldsInOrderOfTheirTokens) {
  const auto policy = Read(LoadCase("none_sum_all"));

  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_THAT(FieldNames(*policy),
              ElementsAre("time", "action", "obs_continuous", "obs_discrete",
                          "obs_image", "reward", "done"));
  const FieldSpec& time = policy->fields[0];
  EXPECT_EQ(time.dtype, DType::kInt64);
  EXPECT_THAT(time.shape, IsEmpty());
  EXPECT_EQ(time.min, 0);
  EXPECT_EQ(time.max, 15);
  const FieldSpec& continuous = policy->fields[2];
  EXPECT_EQ(continuous.dtype, DType::kFloat32);
  EXPECT_THAT(continuous.shape, ElementsAre(3));
  EXPECT_EQ(continuous.max, std::nullopt);
  EXPECT_THAT(policy->fields[4].shape, ElementsAre(12));
  EXPECT_THAT(policy->fields[5].shape, IsEmpty());
  EXPECT_EQ(policy->fields[5].dtype, DType::kFloat32);
  EXPECT_EQ(policy->fields[6].max, 2);
}

TEST(MouseV03, SumsTheBiasesOfPixels) {
  const GoldenCheckpoint checkpoint = LoadCase("none_sum_all");
  auto source = *StoredTensorSource::Create("f", checkpoint.tensors);
  const at::Tensor bias =
      *source->Take("embedder.obs_image_embedder.projs.bias", {12, 64});

  const auto policy = Read(checkpoint);

  ASSERT_TRUE(policy.ok()) << policy.status();
  const FieldEmbedding& image = policy->embedder.fields[4];
  const auto& pixels = std::get<ProjectionEmbedding>(image.content);
  EXPECT_EQ(image.field, 4);
  EXPECT_EQ(pixels.weight.sizes(), at::IntArrayRef({12, 64}));
  EXPECT_TRUE(at::allclose(pixels.bias, bias.sum(0)));
  EXPECT_FLOAT_EQ(255 * pixels.scale + pixels.offset, 1.0F);
  EXPECT_FLOAT_EQ(0 * pixels.scale + pixels.offset, -1.0F);
}

TEST(MouseV03, FoldsTypeRowsIntoFields) {
  const GoldenCheckpoint checkpoint = LoadCase("none_sum_all");
  auto source = *StoredTensorSource::Create("f", checkpoint.tensors);
  const at::Tensor types =
      *source->Take("embedder.type_embedder.embed.weight", {8, 64});

  const auto policy = Read(checkpoint);

  ASSERT_TRUE(policy.ok()) << policy.status();
  const std::vector<int> rows = {6, 1, 5, 7, 4, 2, 3};
  for (int i = 0; i < 7; ++i) {
    EXPECT_TRUE(policy->embedder.fields[i].type_row.equal(types[rows[i]])) << i;
  }
}

TEST(MouseV03, AddsNoTypeRowsWhenTheyAreOff) {
  const auto policy = Read(LoadCase("qwen3_yarn_trim_notype"));

  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_THAT(FieldNames(*policy), ElementsAre("obs_discrete", "reward"));
  EXPECT_FALSE(policy->embedder.fields[0].type_row.defined());
  EXPECT_EQ(policy->embedder.fields[0].num_tokens, 3);
  EXPECT_EQ(policy->embedder.min_content_tokens, 3);
}

TEST(MouseV03, ConcatenatesFieldsAndAppendsComputeTokens) {
  const auto policy = Read(LoadCase("llama_concat_vecdqn_trim"));

  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_EQ(policy->embedder.layout, FieldLayout::kConcat);
  EXPECT_EQ(policy->embedder.min_content_tokens, 4);
  EXPECT_EQ(policy->embedder.compute_tokens.sizes(), at::IntArrayRef({2, 48}));
}

TEST(MouseV03, HasNoLayersWithoutBackbone) {
  const auto policy = Read(LoadCase("none_concat_lasttoken"));

  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_THAT(policy->decoder.stages, IsEmpty());
  EXPECT_EQ(policy->decoder.hidden_dim, 48);
  EXPECT_FALSE(policy->heads[0].norm.has_value());
}

TEST(MouseV03, ReadsLlamaLayers) {
  const auto policy = Read(LoadCase("llama_concat_vecdqn_trim"));

  ASSERT_TRUE(policy.ok()) << policy.status();
  ASSERT_THAT(policy->decoder.stages, SizeIs(1));
  ASSERT_THAT(policy->decoder.stages[0].layers, SizeIs(2));
  EXPECT_FALSE(policy->decoder.final_norm.has_value());
  const GqaConfig& attention = AttentionOf(*policy, 1);
  EXPECT_EQ(attention.num_heads, 3);
  EXPECT_EQ(attention.num_kv_heads, 1);
  EXPECT_EQ(attention.head_dim, 16);
  EXPECT_TRUE(attention.banks[0].q.bias.defined());
  EXPECT_FALSE(attention.banks[0].q_norm.has_value());
  EXPECT_EQ(attention.window_left, -1);
  EXPECT_THAT(attention.rope.inverse_frequencies, SizeIs(8));
  EXPECT_EQ(policy->decoder.stages[0].layers[1].ffn_norm.eps, 1e-5F);
}

TEST(MouseV03, ReadsQwen3Layers) {
  const auto policy = Read(LoadCase("qwen3_sum_allheads"));

  ASSERT_TRUE(policy.ok()) << policy.status();
  const GqaConfig& attention = AttentionOf(*policy, 0);
  EXPECT_EQ(attention.head_dim, 16);
  EXPECT_FALSE(attention.banks[0].q.bias.defined());
  ASSERT_TRUE(attention.banks[0].q_norm.has_value());
  ASSERT_TRUE(attention.banks[0].k_norm.has_value());
  EXPECT_EQ(attention.banks[0].q_norm->eps, 1e-6F);
  EXPECT_EQ(policy->decoder.stages[0].layers[0].attention_norm.eps, 1e-6F);
}

TEST(MouseV03, SlidesTheWindowOfQwen3FromLayer28On) {
  const auto policy = Read(LoadCase("qwen3_sliding_window"));

  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_EQ(AttentionOf(*policy, 27).window_left, -1);
  EXPECT_EQ(AttentionOf(*policy, 28).window_left, 4095);
  EXPECT_EQ(AttentionOf(*policy, 29).window_left, 4095);
}

TEST(MouseV03, KeepsTheDtypeOfTheWeights) {
  const auto policy = Read(LoadCase("llama_bf16_weights"));

  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_EQ(AttentionOf(*policy, 0).banks[0].q.weight.scalar_type(),
            at::kBFloat16);
}

TEST(MouseV03, ReadsAllHeadsAndActsByTheFirstInItsOrder) {
  const auto policy = Read(LoadCase("qwen3_sum_allheads"));

  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_THAT(HeadNames(*policy), ElementsAre("sp", "dqn", "dqn_target", "sv",
                                              "vec_dqn", "vec_dqn_target"));
  EXPECT_THAT(policy->heads[4].shape, ElementsAre(4, 4));
  EXPECT_THAT(policy->heads[1].shape, ElementsAre(4));
  EXPECT_THAT(policy->heads[1].layers, SizeIs(3));
  EXPECT_THAT(policy->heads[3].layers, SizeIs(1));
  EXPECT_EQ(policy->action.head, "vec_dqn");
  EXPECT_EQ(policy->action.rule, ScoreRule::kVectorAngles);
  EXPECT_EQ(policy->action.num_actions, 4);
}

TEST(MouseV03, ActsByTheHeadThatTheConfigNames) {
  const auto policy = Read(LoadCase("qwen3_concat_all_sp"));

  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_EQ(policy->action.head, "sp");
  EXPECT_EQ(policy->action.rule, ScoreRule::kOutput);
}

TEST(MouseV03, ReadsTheSumOfNoFields) {
  GoldenCheckpoint checkpoint = LoadCase("qwen3_headdim_null");
  json& embedding = checkpoint.config["embedding_kwargs"];
  embedding["include_action_token"] = false;
  embedding["include_obs_discrete"] = false;
  auto& tensors = checkpoint.tensors;
  tensors.erase(std::remove_if(tensors.begin(), tensors.end(),
                               [](const StoredTensor& tensor) {
                                 return absl::StrContains(
                                            tensor.name,
                                            "_embedder.embed.weight") &&
                                        !absl::StrContains(tensor.name, "type");
                               }),
                tensors.end());

  const auto policy = Read(checkpoint);

  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_THAT(policy->fields, IsEmpty());
  EXPECT_EQ(policy->embedder.min_content_tokens, 1);
}

// --- damaged tensors ---------------------------------------------------------

class DamagedTensors : public ::testing::TestWithParam<const char*> {};

TEST_P(DamagedTensors, NameEachMissingOne) {
  ExpectMissingTensorsNamed(kMouseV03, LoadCase(GetParam()));
}

TEST_P(DamagedTensors, NameEachExtraOne) {
  ExpectExtraTensorsNamed(kMouseV03, LoadCase(GetParam()));
}

TEST_P(DamagedTensors, NameEachMisshapenOne) {
  ExpectMisshapenTensorsNamed(kMouseV03, LoadCase(GetParam()));
}

TEST_P(DamagedTensors, NameEachOneOfIntegers) {
  ExpectIntegerTensorsNamed(kMouseV03, LoadCase(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, DamagedTensors,
                         ::testing::Values("qwen3_sum_allheads",
                                           "llama_concat_vecdqn_trim",
                                           "none_sum_all", "qwen3_bin"),
                         [](const auto& info) {
                           return std::string(info.param);
                         });

// --- damaged configs ---------------------------------------------------------

class DamagedConfig : public ::testing::TestWithParam<const char*> {};

TEST_P(DamagedConfig, NamesEachKeyOfAnotherType) {
  ExpectKeysOfAnotherTypeNamed(kMouseV03, LoadCase(GetParam()),
                               {"obs_continuous_encoder"});
}

TEST_P(DamagedConfig, NamesAnUnknownKeyInEachObject) {
  ExpectUnknownKeysNamed(kMouseV03, LoadCase(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(
    Checkpoints, DamagedConfig,
    ::testing::Values("qwen3_sum_allheads", "qwen3_yarn_trim_notype",
                      "llama_gqa_llama3rope", "qwen3_sliding_window",
                      "llama_theta_legacykey"),
    [](const auto& info) { return std::string(info.param); });

struct BadValue {
  const char* name;
  const char* path;   // of the key to change
  const char* value;  // nullptr: remove the key
  const char* error;
};

class BadMouseConfig : public ::testing::TestWithParam<BadValue> {};

TEST_P(BadMouseConfig, IsRefused) {
  const BadValue& bad = GetParam();
  ExpectWrongValueNamed(
      kMouseV03, LoadCase("qwen3_sum_allheads"),
      {bad.name, "qwen3_sum_allheads", bad.path, bad.value, bad.error});
}

INSTANTIATE_TEST_SUITE_P(
    Values, BadMouseConfig,
    ::testing::ValuesIn(std::vector<BadValue>{
        {"NoWidth", "/hidden_dim", nullptr, "hidden_dim: is missing"},
        {"NoHeadObject", "/sv_head_kwargs", nullptr,
         "sv_head_kwargs: is missing"},
        {"NoActions", "/embedding_kwargs/max_num_actions", nullptr,
         "embedding_kwargs.max_num_actions: is missing"},
        {"NoInclude", "/embedding_kwargs/include_done_token", nullptr,
         "embedding_kwargs.include_done_token: is missing"},
        {"NoTypeToken", "/embedding_kwargs/include_type_token", nullptr,
         "embedding_kwargs.include_type_token: is missing"},
        {"NoTokenLength", "/embedding_kwargs/token_data_len", nullptr,
         "embedding_kwargs.token_data_len: is missing"},
        {"NoSizeOfDisabledField", "/embedding_kwargs/max_num_obs_image",
         nullptr, "embedding_kwargs.max_num_obs_image: is missing"},
        {"ZeroSizeOfEnabledField", "/embedding_kwargs/max_num_obs_continuous",
         "0", "embedding_kwargs.max_num_obs_continuous: must be an integer"},
        {"NegativeComputeTokens", "/embedding_kwargs/num_compute_tokens", "-1",
         "embedding_kwargs.num_compute_tokens: must be an integer"},
        {"DefaultFourierRange", "/embedding_kwargs/fourier_in_min", nullptr,
         "embedding_kwargs.fourier_in_min: must be above 0"},
        {"EmptyFourierRange", "/embedding_kwargs/fourier_in_max", "0.1",
         "embedding_kwargs.fourier_in_max: must be above fourier_in_min"},
        {"NoLayers", "/backbone_kwargs/num_layers", nullptr,
         "backbone_kwargs.num_layers: is missing"},
        {"ZeroLayers", "/backbone_kwargs/num_layers", "0",
         "backbone_kwargs.num_layers: must be an integer"},
        {"NoHeads", "/backbone_kwargs/num_heads", nullptr,
         "backbone_kwargs.num_heads: is missing"},
        {"HeadsNotDivided", "/backbone_kwargs/num_key_value_heads", "3",
         "backbone_kwargs.num_key_value_heads: must divide num_heads, 4"},
        {"OddHeads", "/backbone_kwargs/head_dim", "15",
         "backbone_kwargs.head_dim: makes heads of width 15"},
        {"HugeHeads", "/backbone_kwargs/head_dim", "1000000",
         "backbone_kwargs.head_dim: makes heads of width 1000000"},
        {"HeadsOfOddShare", "/backbone_kwargs",
         R"({"num_layers": 2, "num_heads": 32})",
         "backbone_kwargs.num_heads: makes heads of width 1"},
        {"WidthNotDivided", "/backbone_kwargs",
         R"({"num_layers": 2, "num_heads": 5})",
         "backbone_kwargs.num_heads: must divide hidden_dim, 32"},
        {"WindowOfLlama", "/backbone_kwargs",
         R"({"num_layers": 2, "num_heads": 4, "use_sliding_window": true})",
         "backbone_kwargs.use_sliding_window: is not a key"},
        {"ZeroEps", "/backbone_kwargs/rms_norm_eps", "0",
         "backbone_kwargs.rms_norm_eps: must be a number above 0"},
        {"OddVectors", "/vec_dqn_head_kwargs/vec_dim", "3",
         "vec_dqn_head_kwargs.vec_dim: must be even"},
        {"NoVectors", "/vec_dqn_head_kwargs/vec_dim", nullptr,
         "vec_dqn_head_kwargs.vec_dim: is missing"},
        {"NoHeadWidth", "/sp_head_kwargs/hidden_dim", nullptr,
         "sp_head_kwargs.hidden_dim: is missing"},
        {"VectorsOfAnotherHead", "/sp_head_kwargs/vec_dim", "4",
         "sp_head_kwargs.vec_dim: is not a key"},
        {"UnknownActionHead", "/action_head", "\"qn\"",
         "action_head: 'qn' is no head"},
        {"TargetActs", "/action_head", "\"dqn_target\"",
         "action_head: 'dqn_target' is no head"},
    }),
    [](const auto& info) { return std::string(info.param.name); });

TEST(MouseV03, RefusesTheConcatenationOfNoFields) {
  GoldenCheckpoint checkpoint = LoadCase("qwen3_headdim_null");
  json& embedding = checkpoint.config["embedding_kwargs"];
  embedding["include_action_token"] = false;
  embedding["include_obs_discrete"] = false;
  embedding["concat_modalities"] = true;

  EXPECT_THAT(ErrorOf(checkpoint),
              HasSubstr("embedding_kwargs.concat_modalities: "));
}

TEST(MouseV03, RefusesACheckpointWithoutHeads) {
  GoldenCheckpoint checkpoint = LoadCase("qwen3_headdim_null");
  checkpoint.config["sp_head_kwargs"] = {{"num_layers", 0}};

  EXPECT_THAT(ErrorOf(checkpoint),
              HasSubstr("action_head: no head has any layers"));
}

TEST(MouseV03, RefusesAnActionHeadWithoutLayers) {
  GoldenCheckpoint checkpoint = LoadCase("qwen3_headdim_null");
  checkpoint.config["action_head"] = "sv";

  EXPECT_THAT(ErrorOf(checkpoint),
              HasSubstr("action_head: 'sv' is no head of this checkpoint"));
}

}  // namespace
}  // namespace stepd::checkpoint
