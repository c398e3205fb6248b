// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/weight_groups.h"

#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/model/checkpoint/weights_files.h"

namespace stepd::checkpoint {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string GroupName(const WeightGroup& group) {
  switch (group.part) {
    case WeightPart::kEmbeddings:
      return "embeddings";
    case WeightPart::kLmHead:
      return "lm_head";
    case WeightPart::kAttention:
      return absl::StrCat("block_", group.layer, "_attention");
    case WeightPart::kFfn:
      return absl::StrCat("block_", group.layer, "_ffn");
  }
  return "";
}

TEST(WeightGroups, AreThoseThatWereRecorded) {
  int num_tensors = 0;
  for (const auto& entry : fs::directory_iterator("tests/golden/puzzletron")) {
    if (!entry.is_directory()) continue;
    const json recorded = json::parse(
        ReadTestFile(entry.path() / "episode.json"))["weight_groups"];
    for (const auto& [group, tensors] : recorded.items()) {
      for (const std::string tensor : tensors) {
        const auto found = FindWeightGroup(tensor);
        ASSERT_TRUE(found.has_value()) << tensor;
        EXPECT_EQ(GroupName(*found), group) << tensor;
        ++num_tensors;
      }
    }
  }
  EXPECT_GT(num_tensors, 100);
}

TEST(WeightGroups, LeaveOtherNamesOut) {
  for (const char* name :
       {"model.layers.0.rotary_emb.inv_freq", "model.layers.x.mlp.up.weight",
        "model.layers.", "model.embed_tokens.bias", "layers.0.mlp.up.weight"}) {
    EXPECT_FALSE(FindWeightGroup(name).has_value()) << name;
  }
}

}  // namespace
}  // namespace stepd::checkpoint
