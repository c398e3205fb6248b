// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/open_mythos.h"

#include <algorithm>
#include <string>
#include <variant>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/model/checkpoint/golden_checkpoint.h"

namespace stepd::checkpoint {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::SizeIs;

GoldenCheckpoint LoadCase(const std::string& name) {
  return LoadGolden("open_mythos/" + name);
}

// Without the tensors that are known but not needed: a copy of the embedding,
// and rotation tables.
GoldenCheckpoint LoadNeeded(const std::string& name) {
  GoldenCheckpoint checkpoint = LoadCase(name);
  const auto is_needless = [](const StoredTensor& tensor) {
    return tensor.name == "head.weight" || tensor.name == "freqs_cis" ||
           tensor.name == "freqs_cis_mla";
  };
  checkpoint.tensors.erase(
      std::remove_if(checkpoint.tensors.begin(), checkpoint.tensors.end(),
                     is_needless),
      checkpoint.tensors.end());
  return checkpoint;
}

// --- what is read ------------------------------------------------------------

TEST(OpenMythos, IsPreludeLoopAndCoda) {
  const auto policy = Read(kOpenMythos, LoadCase("mla_moe_bias_shared2"));

  ASSERT_TRUE(policy.ok()) << policy.status();
  const std::vector<StageConfig>& stages = policy->decoder.stages;
  ASSERT_THAT(stages, SizeIs(3));
  EXPECT_THAT(stages[0].layers, SizeIs(1));
  EXPECT_FALSE(stages[0].loop.has_value());
  ASSERT_THAT(stages[1].layers, SizeIs(1));
  EXPECT_EQ(stages[1].loop->num_loops, 4);
  const auto& moe = std::get<MoeConfig>(stages[1].layers[0].ffn);
  EXPECT_EQ(moe.top_k, 3);
  EXPECT_THAT(moe.experts, SizeIs(8));
  EXPECT_THAT(moe.shared_experts, SizeIs(2));
  EXPECT_EQ(moe.shared_experts[0].down.in_dim(), 12 * 3);
  EXPECT_TRUE(moe.selection_bias.defined());
  EXPECT_TRUE(std::holds_alternative<MlaConfig>(stages[2].layers[0].attention));
  EXPECT_EQ(policy->max_tokens, 32);
}

TEST(OpenMythos, NeedsNeitherTheHeadsCopyNorRotationTables) {
  const GoldenCheckpoint whole = LoadCase("mla_verbatim_state");
  const GoldenCheckpoint needed = LoadNeeded("mla_verbatim_state");
  ASSERT_EQ(whole.tensors.size(), needed.tensors.size() + 3);

  EXPECT_TRUE(Read(kOpenMythos, whole).ok());
  EXPECT_TRUE(Read(kOpenMythos, needed).ok());
}

TEST(OpenMythos, RunsTheLoopsThatAreAskedFor) {
  GoldenCheckpoint checkpoint = LoadCase("gqa_loops_beyond_trained");
  const auto loops = [&](const json& n_loops) {
    checkpoint.config["n_loops"] = n_loops;
    const auto policy = Read(kOpenMythos, checkpoint);
    EXPECT_TRUE(policy.ok()) << policy.status();
    return policy->decoder.stages[1].loop->num_loops;
  };

  EXPECT_EQ(loops(7), 7);
  EXPECT_EQ(loops(nullptr), 3);  // max_loop_iters
}

// --- damage ------------------------------------------------------------------

class DamagedOpenMythos : public ::testing::TestWithParam<const char*> {
 protected:
  GoldenCheckpoint whole() const { return LoadNeeded(GetParam()); }
};

INSTANTIATE_TEST_SUITE_P(Checkpoints, DamagedOpenMythos,
                         ::testing::Values("gqa_basic", "mla_odd_no_prelude",
                                           "mla_moe_bias_shared2"),
                         [](const auto& info) {
                           return std::string(info.param);
                         });

TEST_P(DamagedOpenMythos, NamesEachMissingTensor) {
  ExpectMissingTensorsNamed(kOpenMythos, whole());
}

TEST_P(DamagedOpenMythos, NamesEachExtraTensor) {
  ExpectExtraTensorsNamed(kOpenMythos, whole());
}

TEST_P(DamagedOpenMythos, NamesEachMisshapenTensor) {
  ExpectMisshapenTensorsNamed(kOpenMythos, whole());
}

TEST_P(DamagedOpenMythos, NamesEachTensorOfIntegers) {
  ExpectIntegerTensorsNamed(kOpenMythos, whole());
}

// The family decides whether this format is asked at all; the others change
// nothing when a policy runs.
TEST_P(DamagedOpenMythos, NamesEachKeyOfAnotherType) {
  ExpectKeysOfAnotherTypeNamed(kOpenMythos, whole(),
                               {"family", "max_output_tokens", "dropout"});
}

TEST_P(DamagedOpenMythos, NamesAnUnknownKeyInEachObject) {
  ExpectUnknownKeysNamed(kOpenMythos, whole());
}

class WrongValueOpenMythos : public ::testing::TestWithParam<WrongValue> {};

TEST_P(WrongValueOpenMythos, IsNamed) {
  ExpectWrongValueNamed(kOpenMythos, LoadCase(GetParam().checkpoint),
                        GetParam());
}

constexpr char kGqa[] = "gqa_basic";
constexpr char kMla[] = "mla_moe_bias_shared2";

INSTANTIATE_TEST_SUITE_P(
    Configs, WrongValueOpenMythos,
    ::testing::ValuesIn(std::vector<WrongValue>{
        {"NoModel", kGqa, "/model", nullptr, "model: is missing"},
        {"Attention", kGqa, "/model/attn_type", "\"mha\"",
         "model.attn_type: is neither \"mla\" nor \"gqa\""},
        {"KvHeads", kGqa, "/model/n_kv_heads", "3",
         "model.n_kv_heads: must divide n_heads, 4"},
        {"Heads", kGqa, "/model/n_heads", "6",
         "model.n_heads: must divide dim into heads of even width"},
        {"OddHeads", kGqa, "/model/n_heads", "32",
         "model.n_heads: must divide dim into heads of even width"},
        {"OddRope", kMla, "/model/qk_rope_head_dim", "7",
         "model.qk_rope_head_dim: must be even"},
        {"Experts", kMla, "/model/n_experts_per_tok", "9",
         "model.n_experts_per_tok: is above n_experts, 8"},
        {"NoLoops", kGqa, "/n_loops", "0", "n_loops: must be"},
        {"NegativeLoops", kGqa, "/n_loops", "-1", "n_loops: must be"},
        {"ManyLoops", kGqa, "/n_loops", "4097", "n_loops: must be"},
        {"NoTrainedLoops", kGqa, "/model/max_loop_iters", "0",
         "model.max_loop_iters: must be"},
        {"Threshold", kGqa, "/model/act_threshold", "0",
         "model.act_threshold: must be"},
        {"NegativePrelude", kGqa, "/model/prelude_layers", "-1",
         "model.prelude_layers: must be"},
    }),
    [](const auto& info) { return std::string(info.param.name); });

TEST(OpenMythos, LeavesOtherFamiliesToOthers) {
  EXPECT_FALSE(kOpenMythos.recognise(json::parse(R"({"family": "moda"})")));
  EXPECT_FALSE(kOpenMythos.recognise(json::parse("{}")));
}

}  // namespace
}  // namespace stepd::checkpoint
