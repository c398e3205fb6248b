// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/commands/inspection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace stepd {
namespace {

using ::testing::HasSubstr;

LayerSpec AttentionLayer() {
  LayerSpec layer;
  layer.attention = "gqa";
  layer.num_heads = 8;
  layer.num_kv_heads = 2;
  layer.head_dim = 16;
  layer.window = -1;
  layer.ffn = "no-op";
  layer.num_parameters = 1000;
  layer.kv_bytes_per_token = 256;
  return layer;
}

LayerSpec ExpertsLayer() {
  LayerSpec layer;
  layer.stage = 1;
  layer.num_visits = 4;
  layer.attention = "no-op";
  layer.ffn = "moe";
  layer.ffn_dim = 48;
  layer.num_experts = 6;
  layer.experts_per_token = 2;
  layer.num_shared_experts = 1;
  layer.num_parameters = 20000;
  return layer;
}

PolicySpec SmallSpec() {
  FieldSpec image;
  image.name = "image";
  image.shape = {-1, 4};
  image.required = false;
  FieldSpec index;
  index.name = "index";
  index.dtype = DType::kInt64;
  index.min = 0;
  index.max = 9;
  PolicySpec spec;
  spec.format = "a format";
  spec.summary = "a small policy";
  spec.fields = {index, image};
  spec.outputs = {{"q", {6}}, {"value", {}}};
  spec.action_head = "q";
  spec.num_actions = 6;
  spec.max_tokens_per_step = 3;
  spec.max_tokens = 512;
  spec.num_parameters = 21500;
  spec.weight_bytes = 86016;
  spec.dtype = "float32";
  spec.layers = {AttentionLayer(), ExpertsLayer()};
  spec.kv_bytes_per_token = 256;
  return spec;
}

TEST(Inspection, IsATableOfLayersAndWhatTheWholeCosts) {
  EXPECT_EQ(FormatInspection(SmallSpec()),
            "a small policy\n"
            "\n"
            "layer  stage  visits  attention  heads  kv heads  head size"
            "  window  feed-forward    width  parameters  cache/token\n"
            "    0      0       1  gqa            8         2         16"
            "     all  no-op                        1000        256 B\n"
            "    1      1       4  no-op                                "
            "       0  moe 2 of 6 + 1     48       20000          0 B\n"
            "\n"
            "format       a format\n"
            "inputs       index int64, image? float32[any, 4]\n"
            "outputs      q[6], value\n"
            "actions      6 by q\n"
            "step         1 to 3 token(s), a session has at most 512\n"
            "parameters   21500, of which 500 in no layer\n"
            "weights      84.0 KiB as float32\n"
            "KV cache     256 B per token, 4.0 KiB per block of 16 tokens\n");
}

TEST(Inspection, SaysThatThereAreNoLayers) {
  PolicySpec spec = SmallSpec();
  spec.layers.clear();

  EXPECT_THAT(FormatInspection(spec), HasSubstr("\n\nno layers\n\n"));
}

TEST(Inspection, TellsWhatASessionBeginsWith) {
  PolicySpec spec = SmallSpec();
  FieldSpec mask;
  mask.name = "mask";
  mask.dtype = DType::kBool;
  mask.shape = {5};
  spec.session_fields = {mask};
  spec.num_prefix_tokens = 5;
  spec.recomputes = true;

  const std::string text = FormatInspection(spec);
  const nlohmann::json inspection = InspectionJson(spec);

  EXPECT_THAT(text, HasSubstr("\nsession      mask bool[5]\n"));
  EXPECT_THAT(text, HasSubstr("1 to 3 token(s) after 5 of the session, "
                              "computed with all before it (slow)"));
  EXPECT_EQ(inspection["session_inputs"][0]["name"], "mask");
  EXPECT_EQ(inspection["prefix_tokens"], 5);
  EXPECT_EQ(inspection["recomputes"], true);
}

TEST(Inspection, SaysThatThereAreNoActions) {
  PolicySpec spec = SmallSpec();
  spec.num_actions = 0;
  spec.action_head.clear();

  EXPECT_THAT(FormatInspection(spec), HasSubstr("\nactions      none\n"));
}

TEST(Inspection, GivesProgramsTheSameInBytes) {
  const nlohmann::json inspection = InspectionJson(SmallSpec());

  EXPECT_EQ(inspection["format"], "a format");
  EXPECT_EQ(inspection["parameters"], 21500);
  EXPECT_EQ(inspection["parameters_in_no_layer"], 500);
  EXPECT_EQ(inspection["weight_bytes"], 86016);
  EXPECT_EQ(inspection["layers"][0]["kv_heads"], 2);
  EXPECT_EQ(inspection["layers"][0]["kv_bytes_per_token"], 256);
  EXPECT_EQ(inspection["layers"][1]["visits"], 4);
  EXPECT_EQ(inspection["layers"][1]["experts_per_token"], 2);
  EXPECT_EQ(inspection["inputs"][0],
            nlohmann::json::parse(
                R"({"name": "index", "dtype": "int64", "shape": [],
                    "required": true, "min": 0, "max": 9})"));
  EXPECT_EQ(inspection["outputs"][1],
            nlohmann::json::parse(R"({"name": "value", "shape": []})"));
}

}  // namespace
}  // namespace stepd
