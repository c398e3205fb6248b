// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/noether_untied.h"

#include <cstddef>
#include <string>
#include <variant>
#include <vector>

#include "ATen/Functions.h"
#include "ATen/TensorOperators.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/model/checkpoint/golden_checkpoint.h"

namespace stepd::checkpoint {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::FloatEq;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// With rope (complex) and layer scale; and without either.
constexpr char kStack[] = "noether_untied/causal_stack";
constexpr char kRagged[] = "noether_untied/causal_ragged";

absl::StatusOr<PolicyDescription> Read(const GoldenCheckpoint& checkpoint) {
  return Read(kNoetherUntied, checkpoint);
}

std::string ErrorOf(const GoldenCheckpoint& checkpoint) {
  return ErrorOf(kNoetherUntied, checkpoint);
}

const GqaConfig& AttentionOf(const PolicyDescription& policy) {
  return std::get<GqaConfig>(policy.decoder.stages[0].layers[0].attention);
}

// The MLP of one bank of the first layer.
const DenseFfnConfig& MlpOf(const PolicyDescription& policy, int bank) {
  const auto& ffn =
      std::get<BankedFfnConfig>(policy.decoder.stages[0].layers[0].ffn);
  return std::get<DenseFfnConfig>(ffn.banks[static_cast<std::size_t>(bank)]);
}

at::Tensor TensorOf(const GoldenCheckpoint& checkpoint,
                    const std::string& name) {
  for (const StoredTensor& tensor : checkpoint.tensors) {
    if (tensor.name != name) continue;
    return at::from_blob(const_cast<char*>(tensor.bytes.data()), tensor.shape,
                         at::kFloat)
        .clone();
  }
  ADD_FAILURE() << "no tensor " << name;
  return {};
}

TEST(NoetherUntied, DescribesTypedTokensWithoutActions) {
  const auto policy = Read(LoadGolden(kStack));

  ASSERT_TRUE(policy.ok()) << policy.status();
  ASSERT_THAT(policy->fields, SizeIs(2));
  EXPECT_EQ(policy->fields[0].name, "tokens");
  EXPECT_THAT(policy->fields[0].shape, ElementsAre(-1, 16));
  EXPECT_EQ(policy->fields[1].name, "token_types");
  EXPECT_EQ(policy->fields[1].dtype, DType::kInt64);
  EXPECT_THAT(policy->fields[1].shape, ElementsAre(-1));
  EXPECT_EQ(policy->fields[1].min, 0);
  EXPECT_EQ(policy->fields[1].max, 2);
  EXPECT_THAT(policy->fields[1].value_names,
              ElementsAre("obs", "reward", "action"));
  EXPECT_EQ(policy->fields[1].same_length_as, "tokens");
  EXPECT_EQ(policy->embedder.num_banks, 3);
  EXPECT_EQ(policy->embedder.fields[0].bank_field, 1);
  EXPECT_THAT(policy->heads, IsEmpty());
  EXPECT_EQ(policy->action.num_actions, 0);
}

TEST(NoetherUntied, ReadsOneBankPerTypeWithTheLayerScaleFoldedIn) {
  const GoldenCheckpoint checkpoint = LoadGolden(kStack);
  const auto policy = Read(checkpoint);

  ASSERT_TRUE(policy.ok()) << policy.status();
  ASSERT_THAT(policy->decoder.stages[0].layers, SizeIs(3));
  EXPECT_FALSE(policy->decoder.final_norm.has_value());
  const LayerConfig& layer = policy->decoder.stages[0].layers[0];
  EXPECT_EQ(layer.attention_norm.kind, NormKind::kLayer);
  EXPECT_EQ(layer.attention_norm.eps, 1e-6F);
  EXPECT_TRUE(layer.attention_norm.bias.defined());
  const GqaConfig& attention = AttentionOf(*policy);
  EXPECT_EQ(attention.num_heads, 2);
  EXPECT_EQ(attention.num_kv_heads, 2);
  EXPECT_EQ(attention.head_dim, 8);
  EXPECT_EQ(attention.rope.pairing, RopePairing::kInterleaved);
  EXPECT_THAT(attention.rope.inverse_frequencies,
              ElementsAre(FloatEq(1.0F), FloatEq(0.1F), FloatEq(0.01F),
                          FloatEq(0.001F)));
  ASSERT_THAT(attention.banks, SizeIs(3));
  const std::string block = "blocks.0.attention_block.";
  const at::Tensor gamma = TensorOf(checkpoint, "blocks.0.ls1.gamma");
  EXPECT_TRUE(at::equal(attention.banks[1].q.weight,
                        TensorOf(checkpoint, block + "q.weight.1")));
  EXPECT_TRUE(at::equal(
      attention.banks[2].o.weight,
      gamma.unsqueeze(1) * TensorOf(checkpoint, block + "proj.weight.2")));
  EXPECT_TRUE(at::equal(attention.banks[2].o.bias,
                        gamma * TensorOf(checkpoint, block + "proj.bias.2")));
  const auto& mlp = std::get<BankedFfnConfig>(layer.ffn);
  ASSERT_THAT(mlp.banks, SizeIs(3));
  EXPECT_EQ(MlpOf(*policy, 0).activation, Activation::kGelu);
  EXPECT_FALSE(MlpOf(*policy, 0).gate.weight.defined());
}

TEST(NoetherUntied, HasNoRotationUnlessAsked) {
  const auto policy = Read(LoadGolden(kRagged));

  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_THAT(AttentionOf(*policy).rope.inverse_frequencies, IsEmpty());
}

TEST(NoetherUntied, TurnsHalvesOfAHeadWithRealRope) {
  GoldenCheckpoint checkpoint = LoadGolden(kStack);
  checkpoint.config["rope"]["implementation"] = "real";

  const auto policy = Read(checkpoint);

  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_EQ(AttentionOf(*policy).rope.pairing, RopePairing::kHalfSplit);
  EXPECT_THAT(AttentionOf(*policy).rope.inverse_frequencies, SizeIs(4));
}

TEST(NoetherUntied, TransposesSquareMatricesOfInOutModels) {
  GoldenCheckpoint checkpoint = LoadGolden(kRagged);
  const at::Tensor stored =
      TensorOf(checkpoint, "blocks.0.attention_block.q.weight.1");
  const at::Tensor up = TensorOf(checkpoint, "blocks.0.mlp.layers.0.weight.1");
  checkpoint.config["linear_orientation"] = "in_out";

  const auto policy = Read(checkpoint);

  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_TRUE(at::equal(AttentionOf(*policy).banks[1].q.weight, stored.t()));
  EXPECT_TRUE(at::equal(MlpOf(*policy, 1).up.weight, up));
}

TEST(NoetherUntied, LeavesOutBiasesOfBlocksButNotOfMlps) {
  GoldenCheckpoint checkpoint = LoadGolden(kRagged);
  checkpoint.config["config"]["bias"] = false;
  std::vector<StoredTensor> kept;
  for (const StoredTensor& tensor : checkpoint.tensors) {
    const bool is_bias = tensor.name.find(".bias") != std::string::npos;
    const bool is_mlp = tensor.name.find(".mlp.") != std::string::npos;
    if (!is_bias || is_mlp) kept.push_back(tensor);
  }
  checkpoint.tensors = kept;

  const auto policy = Read(checkpoint);

  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_FALSE(AttentionOf(*policy).banks[0].q.bias.defined());
  const auto& layer = policy->decoder.stages[0].layers[0];
  EXPECT_FALSE(layer.attention_norm.bias.defined());
  EXPECT_TRUE(MlpOf(*policy, 0).down.bias.defined());
}

TEST(NoetherUntied, TakesTheMlpSizeAsAFactorToo) {
  GoldenCheckpoint checkpoint = LoadGolden(kRagged);
  checkpoint.config["config"].erase("mlp_hidden_dim");
  checkpoint.config["config"]["mlp_expansion_factor"] = 2;

  EXPECT_TRUE(Read(checkpoint).ok()) << ErrorOf(checkpoint);
}

// The stack with a condition of 5 numbers instead of norms' weights.
GoldenCheckpoint Conditioned() {
  GoldenCheckpoint checkpoint = LoadGolden(kStack);
  checkpoint.config["config"]["condition_dim"] = 5;
  std::vector<StoredTensor> tensors;
  for (const StoredTensor& tensor : checkpoint.tensors) {
    if (tensor.name.find(".norm") == std::string::npos) {
      tensors.push_back(tensor);
    }
  }
  static const std::string kZeros(6 * 16 * 5 * sizeof(float), '\0');
  for (int i = 0; i < 3; ++i) {
    const std::string name =
        "blocks." + std::to_string(i) + ".modulation.project.";
    StoredTensor weight = tensors.front();
    weight.name = name + "weight";
    weight.shape = {6 * 16, 5};
    weight.strides = RowMajorStrides(weight.shape);
    weight.bytes = kZeros;
    StoredTensor bias = weight;
    bias.name = name + "bias";
    bias.shape = {6 * 16};
    bias.strides = RowMajorStrides(bias.shape);
    bias.bytes = absl::string_view(kZeros).substr(0, 6 * 16 * sizeof(float));
    tensors.push_back(weight);
    tensors.push_back(bias);
  }
  checkpoint.tensors = tensors;
  return checkpoint;
}

TEST(NoetherUntied, TakesTheConditionAsASessionInput) {
  const auto policy = Read(Conditioned());

  ASSERT_TRUE(policy.ok()) << policy.status();
  ASSERT_THAT(policy->session_fields, SizeIs(1));
  EXPECT_EQ(policy->session_fields[0].name, "condition");
  EXPECT_THAT(policy->session_fields[0].shape, ElementsAre(5));
  ASSERT_TRUE(policy->condition.has_value());
  const LayerConfig& layer = policy->decoder.stages[0].layers[0];
  EXPECT_FALSE(layer.attention_norm.weight.defined());
  ASSERT_TRUE(layer.modulation.has_value());
  EXPECT_EQ(layer.modulation->project.weight.size(0), 6 * 16);
}

TEST(NoetherUntied, NamesDamagedTensorsOfConditions) {
  const GoldenCheckpoint whole = Conditioned();

  ExpectMissingTensorsNamed(kNoetherUntied, whole);
  ExpectMisshapenTensorsNamed(kNoetherUntied, whole);
}

// The first block of the stack again, as a perceiver of a source of width 16.
GoldenCheckpoint WithPerceiver() {
  GoldenCheckpoint checkpoint = LoadGolden(kStack);
  checkpoint.config["perceiver"] = {{"depth", 1}, {"source_length", 7}};
  const std::string block = "blocks.0.";
  for (const StoredTensor& stored : LoadGolden(kStack).tensors) {
    if (stored.name.rfind(block, 0) != 0) continue;
    std::string name = stored.name.substr(block.size());
    const std::string attention = "attention_block.";
    if (name.rfind(attention, 0) == 0) {
      name = "attn." + name.substr(attention.size());
      if (name[5] == 'k' || name[5] == 'v') {  // shared by all types
        if (name.back() != '0') continue;
        name = name.substr(0, name.size() - 2);
      }
    }
    const auto add = [&](const std::string& as) {
      checkpoint.tensors.push_back(stored);
      checkpoint.tensors.back().name = "perceivers.0." + as;
    };
    if (name.rfind("norm1.", 0) == 0) {
      add("norm1q." + name.substr(6));
      add("norm1kv." + name.substr(6));
    } else {
      add(name);
    }
  }
  return checkpoint;
}

TEST(NoetherUntied, PutsPerceiversOfASessionsSourceFirst) {
  const auto policy = Read(WithPerceiver());

  ASSERT_TRUE(policy.ok()) << policy.status();
  ASSERT_THAT(policy->session_fields, SizeIs(1));
  EXPECT_EQ(policy->session_fields[0].name, "source");
  EXPECT_THAT(policy->session_fields[0].shape, ElementsAre(7, 16));
  EXPECT_TRUE(policy->source.has_value());
  ASSERT_THAT(policy->decoder.stages[0].layers, SizeIs(4));
  const auto& cross = std::get<CrossAttentionConfig>(
      policy->decoder.stages[0].layers[0].attention);
  EXPECT_THAT(cross.q, SizeIs(3));
  EXPECT_TRUE(cross.source_norm.has_value());
}

TEST(NoetherUntied, NamesDamagedTensorsAndKeysOfPerceivers) {
  const GoldenCheckpoint whole = WithPerceiver();

  ExpectMissingTensorsNamed(kNoetherUntied, whole);
  ExpectExtraTensorsNamed(kNoetherUntied, whole);
  ExpectMisshapenTensorsNamed(kNoetherUntied, whole);
  ExpectKeysOfAnotherTypeNamed(kNoetherUntied, whole, {"family", "types"});
  ExpectUnknownKeysNamed(kNoetherUntied, whole);
}

TEST(NoetherUntied, NeedsBiasesForConditions) {
  GoldenCheckpoint checkpoint = Conditioned();
  checkpoint.config["config"]["bias"] = false;

  EXPECT_THAT(ErrorOf(checkpoint),
              HasSubstr("config.condition_dim: needs bias to be true"));
}

TEST(NoetherUntied, NamesDamagedTensors) {
  const GoldenCheckpoint whole = LoadGolden(kStack);

  ExpectMissingTensorsNamed(kNoetherUntied, whole);
  ExpectExtraTensorsNamed(kNoetherUntied, whole);
  ExpectMisshapenTensorsNamed(kNoetherUntied, whole);
  ExpectIntegerTensorsNamed(kNoetherUntied, whole);
}

TEST(NoetherUntied, NamesABankMoreThanThereAreTypes) {
  GoldenCheckpoint checkpoint = LoadGolden(kStack);
  checkpoint.config["num_types"] = 2;
  checkpoint.config["types"].erase(2);

  EXPECT_THAT(ErrorOf(checkpoint),
              HasSubstr("blocks.0.attention_block.k.bias.2"));
}

TEST(NoetherUntied, NamesDamagedKeys) {
  // `types` may be a single name, and the family is how a config is known.
  ExpectKeysOfAnotherTypeNamed(kNoetherUntied, LoadGolden(kStack),
                               {"family", "types"});
  ExpectUnknownKeysNamed(kNoetherUntied, LoadGolden(kStack));
}

struct BadConfig {
  const char* name;
  const char* pointer;
  const char* value;  // nullptr: the key is taken out
  const char* error;
};

class NoetherUntiedBadConfigTest : public testing::TestWithParam<BadConfig> {};

TEST_P(NoetherUntiedBadConfigTest, IsRefusedByName) {
  GoldenCheckpoint checkpoint = LoadGolden(kStack);
  json::json_pointer pointer(GetParam().pointer);
  if (GetParam().value != nullptr) {
    checkpoint.config[pointer] = json::parse(GetParam().value);
  } else {
    const std::string key = pointer.back();
    pointer.pop_back();
    checkpoint.config[pointer].erase(key);
  }

  EXPECT_THAT(ErrorOf(checkpoint),
              HasSubstr(std::string("dir/config.json: ") + GetParam().error));
}

INSTANTIATE_TEST_SUITE_P(
    Keys, NoetherUntiedBadConfigTest,
    testing::ValuesIn(std::vector<BadConfig>{
        {"NumTypes", "/num_types", "4",
         "num_types: is not the number of types, 3"},
        {"NoTypes", "/types", "[]", "types: must not be empty"},
        {"TypeTwice", "/types", "[\"obs\", \"obs\", \"action\"]",
         "types: has a name twice"},
        {"NoDepth", "/depth", nullptr, "depth: is missing"},
        {"Heads", "/config/num_heads", "3",
         "config.num_heads: must divide hidden_dim, 16"},
        {"NoMlpSize", "/config/mlp_hidden_dim", nullptr,
         "config.mlp_hidden_dim: is missing, and so is mlp_expansion_factor"},
        {"NarrowMlp", "/config/mlp_hidden_dim", "16",
         "config.mlp_hidden_dim: must be above hidden_dim, 16"},
        {"Attention", "/config/attention_constructor", "\"joint_untied\"",
         "config.attention_constructor: is not dot_product"},
        {"NoRope", "/rope", "null",
         "rope: is missing, config.use_rope is true"},
        {"RopeUnasked", "/config/use_rope", "false",
         "rope: is there, config.use_rope is not"},
        {"RopeAxes", "/rope/input_dim", "2", "rope.input_dim: is not 1"},
        {"RopeKind", "/rope/implementation", "\"mixed\"",
         "rope.implementation: is neither real nor complex"},
        {"OddComplexHeads", "/config/num_heads", "16",
         "rope.implementation: complex needs heads of even size, they have 1"},
        {"Position", "/position", "\"coordinates\"",
         "position: is not token_index"},
        {"AutoOrientation", "/linear_orientation", "\"upstream_auto\"",
         "linear_orientation: upstream_auto transposes or not by how many"},
        {"Orientation", "/linear_orientation", "\"transposed\"",
         "linear_orientation: is none of out_in, in_out"},
    }),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace stepd::checkpoint
