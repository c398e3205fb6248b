// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/kempner_forge.h"

#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/model/checkpoint/golden_checkpoint.h"

namespace stepd::checkpoint {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using Path = nlohmann::json::json_pointer;

constexpr char kJoint[] = "kempner_forge/vlm_joint_decoder_wrapped";
constexpr char kCross[] = "kempner_forge/vlm_cross_attention";
constexpr char kMot[] = "kempner_forge/vlm_mot_moe";
constexpr char kMoma[] = "kempner_forge/vlm_moma";

// Keys that say how the model was trained.
std::vector<std::string> OfTraining() {
  return {"ffn_dim_multiplier",
          "ffn_hidden_dim",
          "init_std",
          "model_type",
          "sdpa_backend",
          "moe_aux_loss_weight",
          "moe_sequence_aux_loss_weight",
          "moe_gradient_scale",
          "moe_bias_schedule",
          "max_text_len",
          "mot_warm_start_from_text",
          "mot_warm_start_path",
          "moma_gumbel_noise",
          "family"};
}

PolicyDescription ReadGolden(const std::string& name) {
  const GoldenCheckpoint whole = LoadGolden(name);
  auto policy = Read(kKempnerForge, whole);
  EXPECT_TRUE(policy.ok()) << policy.status();
  return *std::move(policy);
}

// ---- Every tensor, every key ------------------------------------------------

class KempnerForgeTest : public testing::TestWithParam<const char*> {
 protected:
  KempnerForgeTest() {
    nlohmann::json& vlm = whole_.config["vlm"];
    if (!vlm.is_object()) return;
    // Whatever is in them, they are of training.
    for (const char* key : {"freeze", "freeze_schedule", "module_patterns"}) {
      vlm.erase(key);
    }
  }

  GoldenCheckpoint whole_ = LoadGolden(GetParam());
};

INSTANTIATE_TEST_SUITE_P(
    Recorded, KempnerForgeTest,
    testing::Values("kempner_forge/dense_gqa",
                    "kempner_forge/dense_layernorm_gelu_mha",
                    "kempner_forge/moe_softmax_freq2_shared", kJoint, kCross,
                    kMot, kMoma),
    [](const auto& info) {
      const std::string name = info.param;
      return name.substr(name.find('/') + 1);
    });

TEST_P(KempnerForgeTest, NamesEveryTensorThatIsMissing) {
  ExpectMissingTensorsNamed(kKempnerForge, whole_);
}

TEST_P(KempnerForgeTest, NamesEveryTensorThatIsExtra) {
  ExpectExtraTensorsNamed(kKempnerForge, whole_);
}

TEST_P(KempnerForgeTest, NamesEveryTensorOfAnotherShape) {
  ExpectMisshapenTensorsNamed(kKempnerForge, whole_);
}

TEST_P(KempnerForgeTest, NamesEveryTensorOfIntegers) {
  ExpectIntegerTensorsNamed(kKempnerForge, whole_);
}

TEST_P(KempnerForgeTest, NamesEveryKeyOfAnotherType) {
  ExpectKeysOfAnotherTypeNamed(kKempnerForge, whole_, OfTraining());
}

TEST_P(KempnerForgeTest, NamesEveryKeyThatIsUnknown) {
  ExpectUnknownKeysNamed(kKempnerForge, whole_);
}

// ---- What is read -----------------------------------------------------------

TEST(KempnerForge, AJointDecoderBeginsWithTheImage) {
  const PolicyDescription policy = ReadGolden(kJoint);

  ASSERT_EQ(policy.session_fields.size(), 1U);
  EXPECT_EQ(policy.session_fields[0].name, "image_features");
  EXPECT_THAT(policy.session_fields[0].shape, ElementsAre(4, 20));
  ASSERT_TRUE(policy.prefix.has_value());
  EXPECT_EQ(policy.prefix->rows.layers.size(), 2U);
  EXPECT_FALSE(policy.prefix->tokens.has_own_positions);
  EXPECT_FALSE(policy.source.has_value());
  EXPECT_EQ(policy.max_tokens, 48);
}

TEST(KempnerForge, CrossAttentionReadsTheImageThroughAMask) {
  const PolicyDescription policy = ReadGolden(kCross);

  ASSERT_EQ(policy.session_fields.size(), 2U);
  EXPECT_EQ(policy.session_fields[0].name, "image_embeds");
  EXPECT_THAT(policy.session_fields[0].shape, ElementsAre(6, 32));
  EXPECT_EQ(policy.session_fields[1].name, "image_mask");
  EXPECT_EQ(policy.session_fields[1].dtype, DType::kBool);
  EXPECT_FALSE(policy.session_fields[1].required);
  EXPECT_FALSE(policy.prefix.has_value());
  ASSERT_TRUE(policy.source.has_value());
  EXPECT_EQ(policy.source->mask_field, 1);
  // Five layers and a block after every two.
  ASSERT_EQ(policy.decoder.stages[0].layers.size(), 7U);
  const auto& layers = policy.decoder.stages[0].layers;
  EXPECT_TRUE(
      std::holds_alternative<CrossAttentionConfig>(layers[2].attention));
  EXPECT_TRUE(
      std::holds_alternative<CrossAttentionConfig>(layers[5].attention));
}

TEST(KempnerForge, WithoutABlockItIsATextModel) {
  GoldenCheckpoint golden = LoadGolden(kCross);
  golden.config[Path("/vlm/cross_attention_every_n_layers")] = 6;
  std::vector<StoredTensor> tensors;
  for (StoredTensor& tensor : golden.tensors) {
    if (tensor.name.rfind("cross_attention_layers", 0) != 0) {
      tensors.push_back(std::move(tensor));
    }
  }
  golden.tensors = std::move(tensors);

  const auto policy = Read(kKempnerForge, golden);

  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_THAT(policy->session_fields, IsEmpty());
  EXPECT_FALSE(policy->source.has_value());
}

TEST(KempnerForge, AMixtureOfTransformersHasABankPerModality) {
  const PolicyDescription policy = ReadGolden(kMot);

  ASSERT_TRUE(policy.prefix.has_value());
  EXPECT_EQ(policy.prefix->tokens.bank, 1);
  EXPECT_TRUE(policy.prefix->tokens.has_own_positions);
  EXPECT_EQ(policy.embedder.num_banks, 2);
  // Text and image have positions of their own.
  EXPECT_EQ(policy.max_tokens, 48 + 5);
  const auto& layers = policy.decoder.stages[0].layers;
  EXPECT_THAT(layers[0].attention_norm.weight.sizes(), ElementsAre(2, 32));
  EXPECT_EQ(std::get<GqaConfig>(layers[0].attention).banks.size(), 2U);
  const auto& ffn = std::get<BankedFfnConfig>(layers[1].ffn);
  EXPECT_TRUE(std::holds_alternative<MoeConfig>(ffn.banks[0]));
}

TEST(KempnerForge, ExpertChoiceIsRecomputed) {
  const PolicyDescription policy = ReadGolden(kMoma);

  EXPECT_TRUE(policy.recomputes);
  ASSERT_TRUE(policy.prefix.has_value());
  EXPECT_FALSE(policy.prefix->tokens.has_own_positions);
  const auto& ffn =
      std::get<BankedFfnConfig>(policy.decoder.stages[0].layers[0].ffn);
  const auto& text = std::get<MoeConfig>(ffn.banks[0]);
  EXPECT_EQ(text.choice, MoeChoice::kByExpert);
  EXPECT_EQ(text.experts.size(), 2U);
  EXPECT_EQ(text.capacity_factor, 0.5);  // one of so many experts
  EXPECT_EQ(std::get<MoeConfig>(ffn.banks[1]).experts.size(), 3U);
}

TEST(KempnerForge, LeavesOutTheVisionEncoder) {
  GoldenCheckpoint golden = LoadGolden(kJoint);
  StoredTensor tensor = golden.tensors.front();
  tensor.name = "vision_encoder.patches.weight";
  golden.tensors.push_back(tensor);

  EXPECT_EQ(ErrorOf(kKempnerForge, golden), "");
}

// ---- What is refused --------------------------------------------------------

struct BadValue {
  std::string name;
  const char* golden;
  Path key;
  nlohmann::json value;
  std::string named;  // in the error
};

class RefusedTest : public testing::TestWithParam<BadValue> {};

INSTANTIATE_TEST_SUITE_P(
    Every, RefusedTest,
    testing::Values(
        BadValue{"Architecture", kJoint, Path("/vlm/arch"), "video",
                 "vlm.arch"},
        BadValue{"NoImage", kJoint, Path("/num_image_tokens"), 0,
                 "num_image_tokens"},
        BadValue{"ImageOfAllPositions", kJoint, Path("/num_image_tokens"), 48,
                 "num_image_tokens"},
        BadValue{"Adapter", kJoint, Path("/adapter/type"), "conv",
                 "adapter.type"},
        BadValue{"AdapterActivation", kJoint, Path("/adapter/activation"),
                 "tanh", "adapter.activation"},
        BadValue{"AdapterWithoutVision", kJoint, Path("/vlm"), nullptr,
                 "adapter"},
        BadValue{"CrossHeads", kCross, Path("/vlm/cross_attention_n_heads"), 5,
                 "vlm.cross_attention_n_heads"},
        BadValue{"CrossKvHeads", kCross,
                 Path("/vlm/cross_attention_n_kv_heads"), 3,
                 "vlm.cross_attention_n_kv_heads"},
        BadValue{"TextBeforeImage",
                 kMot,
                 Path("/vlm/mot_modalities"),
                 {"text", "image"},
                 "vlm.mot_modalities"},
        BadValue{"ImageHeads", kMot, Path("/vlm/mot_image_n_heads"), 2,
                 "vlm.mot_image_n_heads"},
        BadValue{"ImageKvHeads", kMot, Path("/vlm/mot_image_n_kv_heads"), 1,
                 "vlm.mot_image_n_kv_heads"},
        BadValue{"OtherModalities",
                 kMoma,
                 Path("/vlm/moma_modalities"),
                 {"image", "text", "audio"},
                 "vlm.moma_modalities"},
        BadValue{"NoExperts", kMoma,
                 Path("/vlm/moma_experts_per_modality/text"), 0,
                 "vlm.moma_experts_per_modality.text"},
        BadValue{"NegativeCapacity", kMoma, Path("/vlm/moma_capacity_factor"),
                 -1, "vlm.moma_capacity_factor"},
        BadValue{"OddHeads", kJoint, Path("/model/n_heads"), 32, "n_heads"},
        BadValue{"KvHeads", kJoint, Path("/model/n_kv_heads"), 3, "n_kv_heads"},
        BadValue{"Norm", kJoint, Path("/model/norm_type"), "batch",
                 "norm_type"},
        BadValue{"Activation", kJoint, Path("/model/activation"), "tanh",
                 "activation"},
        BadValue{"Router", kMot, Path("/model/moe_router"), "hash",
                 "moe_router"},
        BadValue{"TopK", kMot, Path("/model/moe_top_k"), 4, "moe_top_k"}),
    [](const auto& info) { return info.param.name; });

TEST_P(RefusedTest, NamesTheKey) {
  GoldenCheckpoint golden = LoadGolden(GetParam().golden);
  golden.config[GetParam().key] = GetParam().value;

  EXPECT_THAT(ErrorOf(kKempnerForge, golden), HasSubstr(GetParam().named));
}

}  // namespace
}  // namespace stepd::checkpoint
