// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/mouse_v1.h"

#include <filesystem>
#include <string>
#include <variant>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/checkpoint/format.h"
#include "model/checkpoint/mouse_v03.h"
#include "model/checkpoint/stored_tensor_source.h"
#include "tests/model/checkpoint/golden_checkpoint.h"
#include "tests/model/checkpoint/weights_files.h"

namespace stepd::checkpoint {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

GoldenCheckpoint LoadCase(const std::string& name) {
  return LoadGolden("mouse_v1/" + name);
}

absl::StatusOr<PolicyDescription> Read(const GoldenCheckpoint& checkpoint) {
  return Read(kMouseV1, checkpoint);
}

std::string ErrorOf(const GoldenCheckpoint& checkpoint) {
  return ErrorOf(kMouseV1, checkpoint);
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

TEST(MouseV1, ReadsEveryRecordedCheckpoint) {
  int num_read = 0;
  for (const auto& entry : fs::directory_iterator("tests/golden/mouse_v1")) {
    const std::string name = entry.path().filename();
    const GoldenCheckpoint checkpoint = LoadCase(name);
    EXPECT_TRUE(kMouseV1.recognise(checkpoint.config)) << name;
    EXPECT_FALSE(kMouseV03.recognise(checkpoint.config)) << name;

    const auto policy = Read(checkpoint);

    EXPECT_TRUE(policy.ok()) << name << ": " << policy.status();
    ++num_read;
  }
  EXPECT_EQ(num_read, 10);
}

TEST(MouseV1, LeavesOtherFormatsToOthers) {
  EXPECT_FALSE(kMouseV1.recognise(json::parse(R"({"hidden_dim": 32})")));
  EXPECT_FALSE(kMouseV1.recognise(json::parse(R"({"format": 1})")));
  EXPECT_FALSE(
      kMouseV1.recognise(json::parse(R"({"format": "mouse-core-model-v2"})")));
}

// --- the step encoder --------------------------------------------------------

TEST(MouseV1Step, DescribesFieldsAndTheirAbsentValues) {
  const auto policy = Read(LoadCase("step_qwen3_concat"));

  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_THAT(FieldNames(*policy),
              ElementsAre("time", "observation", "pixels", "action", "reward"));
  EXPECT_EQ(policy->embedder.layout, FieldLayout::kConcat);
  const FieldSpec& time = policy->fields[0];
  EXPECT_EQ(time.dtype, DType::kInt64);
  EXPECT_EQ(time.min, -1);
  EXPECT_EQ(time.max, 31);
  EXPECT_EQ(policy->fields[3].min, -1);
  EXPECT_EQ(policy->fields[3].max, 3);
  EXPECT_THAT(policy->fields[1].shape, ElementsAre(3));
  EXPECT_EQ(policy->fields[1].dtype, DType::kFloat32);
  EXPECT_THAT(policy->fields[4].shape, IsEmpty());

  // time, observation[0..2], pixels, action, reward, learnable
  const auto& embedded = policy->embedder.fields;
  ASSERT_THAT(embedded, SizeIs(8));
  // Left out, time counts as 0; -1 has no content.
  EXPECT_EQ(embedded[0].when_absent, WhenAbsent::kZeroValue);
  EXPECT_EQ(embedded[0].absent_value->value, -1.0);
  EXPECT_EQ(embedded[0].absent_value->then, WhenAbsent::kZeros);
  EXPECT_EQ(embedded[5].when_absent, WhenAbsent::kZeros);
  EXPECT_EQ(embedded[3].field, 1);
  EXPECT_EQ(embedded[3].first_element, 2);
  EXPECT_EQ(embedded[3].first_token, 0);
  EXPECT_EQ(embedded[4].num_tokens, 2);
  EXPECT_TRUE(embedded[4].type_row.defined());
  EXPECT_FALSE(embedded[6].type_row.defined());
  EXPECT_EQ(embedded[7].field, -1);
}

TEST(MouseV1Step, PutsElementsOnTokensOfTheirOwnInSums) {
  const auto policy = Read(LoadCase("step_identity_image"));

  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_EQ(policy->embedder.layout, FieldLayout::kSum);
  EXPECT_THAT(policy->decoder.stages, IsEmpty());
  EXPECT_TRUE(policy->fields[1].required);
  EXPECT_FALSE(policy->fields[2].required);
  const FieldEmbedding& pixel = policy->embedder.fields[4];
  EXPECT_EQ(pixel.field, 1);
  EXPECT_EQ(pixel.first_element, 3);
  EXPECT_EQ(pixel.first_token, 3);
  const auto& projection = std::get<ProjectionEmbedding>(pixel.content);
  EXPECT_EQ(projection.weight.sizes(), at::IntArrayRef({1, 32}));
  EXPECT_EQ(projection.bias.sizes(), at::IntArrayRef({32}));
  EXPECT_TRUE(projection.truncates);
}

TEST(MouseV1Step, AbsentMayBeOneOfTheTable) {
  GoldenCheckpoint checkpoint = LoadCase("step_qwen3_concat");
  checkpoint.config["encoder"]["kwargs"]["modalities"][3]["absent"] = 2;

  const auto policy = Read(checkpoint);

  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_EQ(policy->fields[3].min, 0);
  EXPECT_EQ(policy->fields[3].max, 3);
}

// --- the numeric encoder -----------------------------------------------------

TEST(MouseV1Numeric, SkipsValuesAndLeavesOutOptionalFields) {
  const auto policy = Read(LoadCase("numeric_llama_skip_optional"));

  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_THAT(FieldNames(*policy),
              ElementsAre("observation", "action", "reward", "state"));
  EXPECT_FALSE(policy->fields[3].required);
  const auto& embedded = policy->embedder.fields;
  ASSERT_THAT(embedded, SizeIs(7));  // one each, state three, learnable
  EXPECT_FALSE(embedded[0].absent_value.has_value());
  EXPECT_EQ(embedded[2].absent_value->value, 0.0);
  EXPECT_EQ(embedded[2].absent_value->then, WhenAbsent::kNoTokens);
  EXPECT_EQ(embedded[5].when_absent, WhenAbsent::kNoTokens);
  EXPECT_EQ(embedded[5].field, 3);
  EXPECT_EQ(embedded[5].first_element, 2);
  EXPECT_EQ(embedded[6].field, -1);
  EXPECT_EQ(embedded[6].num_tokens, 2);
}

TEST(MouseV1Numeric, ListsOfNamesStandForAModalityEach) {
  GoldenCheckpoint checkpoint = LoadCase("numeric_qwen3_multistep");
  json& modalities = checkpoint.config["encoder"]["kwargs"]["modalities"];
  modalities[0]["field"] = {"observation", "goal"};
  modalities.erase(1);

  const auto policy = Read(checkpoint);

  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_THAT(FieldNames(*policy),
              ElementsAre("observation", "goal", "action", "reward"));
}

TEST(MouseV1Text, FollowsTheOrderOfTheFormat) {
  const auto policy = Read(LoadCase("text_tokens_llama"));

  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_THAT(FieldNames(*policy),
              ElementsAre("action", "observation", "done"));
  ASSERT_THAT(policy->embedder.fields, SizeIs(3));
  EXPECT_EQ(policy->embedder.fields[0].field, 1);
  EXPECT_EQ(policy->embedder.fields[1].field, 0);
  EXPECT_EQ(policy->embedder.fields[2].field, 2);
  EXPECT_EQ(policy->embedder.fields[2].absent_value->value, 0.0);
}

// --- heads -------------------------------------------------------------------

TEST(MouseV1Heads, StacksTheHeadsOfAllLayers) {
  const auto policy = Read(LoadCase("numeric_llama_layerwise"));

  ASSERT_TRUE(policy.ok()) << policy.status();
  const std::string online = "action_value_layerwise";
  const std::string target = "action_value_layerwise_target";
  EXPECT_THAT(HeadNames(*policy), ElementsAre(online, online, online, target,
                                              target, target, "value"));
  EXPECT_TRUE(policy->heads[0].is_stacked);
  EXPECT_EQ(policy->heads[0].read_layer, 0);
  EXPECT_EQ(policy->heads[1].read_layer, 1);
  EXPECT_EQ(policy->heads[2].read_layer, std::nullopt);
  EXPECT_FALSE(policy->heads[6].is_stacked);
  EXPECT_EQ(policy->action.head, online);
  EXPECT_EQ(policy->action.num_actions, 4);
}

TEST(MouseV1Heads, ActByTheFirstInTheirOrder) {
  GoldenCheckpoint checkpoint = LoadCase("step_qwen3_concat");
  checkpoint.config["heads"]["action_head"] = nullptr;
  const auto vectors = Read(checkpoint);
  checkpoint = LoadCase("numeric_qwen3_multistep");
  checkpoint.config["heads"].erase("action_head");
  const auto plain = Read(checkpoint);

  ASSERT_TRUE(vectors.ok()) << vectors.status();
  EXPECT_EQ(vectors->action.head, "action_vector");
  EXPECT_EQ(vectors->action.rule, ScoreRule::kVectorAngles);
  EXPECT_EQ(vectors->action.num_actions, 4);
  ASSERT_TRUE(plain.ok()) << plain.status();
  EXPECT_EQ(plain->action.head, "action");
  EXPECT_EQ(plain->action.rule, ScoreRule::kOutput);
}

// --- damage ------------------------------------------------------------------

class DamagedV1 : public ::testing::TestWithParam<const char*> {
 protected:
  GoldenCheckpoint whole() const { return LoadCase(GetParam()); }
};

TEST_P(DamagedV1, NamesEachMissingTensor) {
  ExpectMissingTensorsNamed(kMouseV1, whole());
}

TEST_P(DamagedV1, NamesEachExtraTensor) {
  ExpectExtraTensorsNamed(kMouseV1, whole());
}

TEST_P(DamagedV1, NamesEachMisshapenTensor) {
  ExpectMisshapenTensorsNamed(kMouseV1, whole());
}

TEST_P(DamagedV1, NamesEachTensorOfIntegers) {
  ExpectIntegerTensorsNamed(kMouseV1, whole());
}

TEST_P(DamagedV1, NamesEachKeyOfAnotherType) {
  ExpectKeysOfAnotherTypeNamed(kMouseV1, whole(), {});
}

TEST_P(DamagedV1, NamesAnUnknownKeyInEachObject) {
  ExpectUnknownKeysNamed(kMouseV1, whole());
}

INSTANTIATE_TEST_SUITE_P(
    Checkpoints, DamagedV1,
    ::testing::Values("step_qwen3_concat", "step_identity_image",
                      "step_llama_sum", "numeric_llama_layerwise",
                      "numeric_llama_skip_optional",
                      "numeric_qwen3_vector_trim", "text_tokens_llama"),
    [](const auto& info) { return std::string(info.param); });

class WrongValueV1 : public ::testing::TestWithParam<WrongValue> {};

TEST_P(WrongValueV1, IsNamed) {
  ExpectWrongValueNamed(kMouseV1, LoadCase(GetParam().checkpoint), GetParam());
}

constexpr char kStep[] = "step_qwen3_concat";
constexpr char kNumeric[] = "numeric_llama_skip_optional";
constexpr char kLayerwise[] = "numeric_llama_layerwise";
constexpr char kText[] = "text_tokens_llama";

INSTANTIATE_TEST_SUITE_P(
    Configs, WrongValueV1,
    ::testing::ValuesIn(std::vector<WrongValue>{
        {"Encoder", kStep, "/encoder/type", "\"audio\"",
         "encoder.type: 'audio' is none of step, numeric and text"},
        {"Backbone", kStep, "/backbone/type", "\"mamba\"",
         "backbone.type: 'mamba' is none of identity, llama and qwen3"},
        {"BackboneWidth", kStep, "/backbone/hidden_dim", "16",
         "backbone.hidden_dim: must be that of the model, 32"},
        {"EncoderWidth", kNumeric, "/encoder/kwargs/hidden_dim", "16",
         "encoder.kwargs.hidden_dim: must be that of the model, 32"},
        {"NoBackbone", kStep, "/backbone", nullptr, "backbone: is missing"},
        {"LlamaHeadDim", kNumeric, "/backbone/kwargs/head_dim", "8",
         "backbone.kwargs.head_dim: is not a key"},
        {"NoModalities", kStep, "/encoder/kwargs/modalities", "[]",
         "encoder.kwargs.modalities: must not be empty"},
        {"Modality", kStep, "/encoder/kwargs/modalities/1/type", "\"text\"",
         "encoder.kwargs.modalities.1.type: 'text' is no modality"},
        {"NoField", kStep, "/encoder/kwargs/modalities/0/field", nullptr,
         "encoder.kwargs.modalities.0.field: is missing"},
        {"FieldTwice", kStep, "/encoder/kwargs/modalities/0/field",
         "[\"time\", \"time\"]",
         "encoder.kwargs.modalities.0.field: 'time' is a modality already"},
        {"NoVocabulary", kStep, "/encoder/kwargs/modalities/0/vocab_size",
         nullptr, "encoder.kwargs.modalities.0.vocab_size: is missing"},
        {"Method", kStep, "/encoder/kwargs/modalities/1/method", "\"mlp\"",
         "encoder.kwargs.modalities.1.method: must be rff or linear"},
        {"AllowNone", kStep, "/encoder/kwargs/modalities/1/allow_none", "true",
         "encoder.kwargs.modalities.1.allow_none: must be false"},
        {"FarAbsent", kStep, "/encoder/kwargs/modalities/3/absent", "-2",
         "encoder.kwargs.modalities.3.absent: must be an integer from -1 to 4"},
        {"SkipOfArray", kNumeric, "/encoder/kwargs/modalities/3/skip", "0",
         "encoder.kwargs.modalities.3.skip: is not a key"},
        {"SkipOfHalf", kNumeric, "/encoder/kwargs/modalities/1/skip", "0.5",
         "encoder.kwargs.modalities.1.skip: must be an integer"},
        {"NumericImage", kNumeric, "/encoder/kwargs/modalities/0/type",
         "\"image\"", "encoder.kwargs.modalities.0.type: 'image' is refused"},
        {"TextField", kText, "/encoder/kwargs/modalities/0/type", "\"text\"",
         "encoder.kwargs.modalities.0.type: 'text' is refused: it needs a "
         "tokenizer, and the checkpoint has no tokenizer.json"},
        {"TextImage", kText, "/encoder/kwargs/modalities/0/type", "\"image\"",
         "encoder.kwargs.modalities.0.type: 'image' is refused"},
        {"LiteralText", kText, "/encoder/kwargs/format",
         "\"{observation} {action}{done}\"",
         "encoder.kwargs.format: must be a row of plain {field}s, not "
         "' {action}{done}': text needs a tokenizer, and the checkpoint has no "
         "tokenizer.json"},
        {"EscapedBrace", kText, "/encoder/kwargs/format",
         "\"{{{observation}{action}{done}\"",
         "encoder.kwargs.format: must be a row of plain {field}s"},
        {"UnclosedBrace", kText, "/encoder/kwargs/format", "\"{observation\"",
         "encoder.kwargs.format: must be a row of plain {field}s"},
        {"FormatSpec", kText, "/encoder/kwargs/format",
         "\"{observation:3d}{action}{done}\"",
         "encoder.kwargs.format: must be a row of plain {field}s"},
        {"UnknownInFormat", kText, "/encoder/kwargs/format",
         "\"{observation}{action}{done}{reward}\"",
         "encoder.kwargs.format: 'reward' is no modality"},
        {"NotInFormat", kText, "/encoder/kwargs/format", "\"{action}{done}\"",
         "encoder.kwargs.format: does not have the field 'observation'"},
        {"EmptyFormat", kText, "/encoder/kwargs/format", "\"\"",
         "encoder.kwargs.format: must not be empty"},
        {"NoHeads", kStep, "/heads/heads", "[]",
         "heads.action_head: 'action_vector' is no head"},
        {"HeadName", kStep, "/heads/heads/2/name", "\"policy\"",
         "heads.heads.2.name: 'policy' is no name of a head"},
        {"HeadTwice", kStep, "/heads/heads/2/name", "\"action_value\"",
         "heads.heads.2.name: there are two heads 'action_value'"},
        {"HeadType", kStep, "/heads/heads/2/type", "\"mlp\"",
         "heads.heads.2.type: 'mlp' is no type of head"},
        {"HeadInput", kStep, "/heads/heads/2/in_features", "16",
         "heads.heads.2.in_features: must be hidden_dim, 32"},
        {"OddVectors", kStep, "/heads/heads/0/vec_dim", "3",
         "heads.heads.0.vec_dim: must be even"},
        {"ActionHead", kStep, "/heads/action_head", "\"q\"",
         "heads.action_head: 'q' is no head of this checkpoint"},
        {"LayersOfHead", kLayerwise, "/heads/heads/0/num_backbone_layers", "2",
         "heads.heads.0.num_backbone_layers: must be those of the backbone, "
         "3"},
    }),
    [](const auto& info) { return std::string(info.param.name); });

// With the tokenizer beside it the text encoder is refused all the same: no
// library here reads it.
TEST(MouseV1, SaysThatATokenizerIsThereButNotReadable) {
  const GoldenCheckpoint checkpoint = LoadCase("text_tokens_llama");
  const fs::path directory = MakeTestDirectory();
  ConfigFile plain;
  plain.path = directory / "config.json";
  plain.json = checkpoint.config;
  ConfigFile with_text = plain;
  with_text.json["encoder"]["kwargs"]["format"] = "go {observation}";
  WriteTestFile("tokenizer.json", "{}");
  const auto read = [&](const ConfigFile& config) {
    auto source = *StoredTensorSource::Create("weights", checkpoint.tensors);
    return kMouseV1.read(config, source.get()).status();
  };

  EXPECT_TRUE(read(plain).ok());
  EXPECT_THAT(std::string(read(with_text).message()),
              HasSubstr("encoder.kwargs.format: must be a row of plain "
                        "{field}s, not 'go {observation}': text needs a "
                        "tokenizer; the checkpoint has a tokenizer.json, but "
                        "this build of stepd has no library that reads it"));
}

TEST(MouseV1, RefusesACheckpointWithoutHeads) {
  GoldenCheckpoint checkpoint = LoadCase("text_tokens_llama");
  checkpoint.config["heads"] = {{"action_head", nullptr},
                                {"heads", json::array()}};

  EXPECT_THAT(ErrorOf(checkpoint), HasSubstr("heads.heads: must not be empty"));
}

}  // namespace
}  // namespace stepd::checkpoint
