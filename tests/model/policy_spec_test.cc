// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/policy_spec.h"

#include <string>

#include "gtest/gtest.h"

namespace stepd {
namespace {

struct DTypeCase {
  DType dtype;
  std::int64_t bytes;
  const char* name;
};

class DTypeTest : public testing::TestWithParam<DTypeCase> {};

TEST_P(DTypeTest, HasNumpysNameAndSize) {
  EXPECT_EQ(SizeOf(GetParam().dtype), GetParam().bytes);
  EXPECT_EQ(Name(GetParam().dtype), GetParam().name);
}

INSTANTIATE_TEST_SUITE_P(
    All, DTypeTest,
    testing::Values(DTypeCase{DType::kBool, 1, "bool"},
                    DTypeCase{DType::kUInt8, 1, "uint8"},
                    DTypeCase{DType::kInt32, 4, "int32"},
                    DTypeCase{DType::kInt64, 8, "int64"},
                    DTypeCase{DType::kFloat16, 2, "float16"},
                    DTypeCase{DType::kBFloat16, 2, "bfloat16"},
                    DTypeCase{DType::kFloat32, 4, "float32"},
                    DTypeCase{DType::kFloat64, 8, "float64"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(FieldSpec, CountsTheElementsOfOneStep) {
  FieldSpec field;
  EXPECT_EQ(field.num_elements(), 1);  // a scalar
  field.shape = {3, 4};
  EXPECT_EQ(field.num_elements(), 12);
  EXPECT_FALSE(field.is_ragged());
}

TEST(FieldSpec, CountsTheElementsOfOneEntryWhenRagged) {
  FieldSpec field;
  field.shape = {-1, 4};

  EXPECT_TRUE(field.is_ragged());
  EXPECT_EQ(field.num_elements(), 4);
}

TEST(PolicySpec, FindsFieldsAndOutputsByName) {
  PolicySpec spec;
  spec.fields = {FieldSpec{"a", DType::kInt64, {}, {}, {}},
                 FieldSpec{"b", DType::kInt64, {}, {}, {}}};
  spec.outputs = {OutputSpec{"q", {2}}};

  EXPECT_EQ(FindField(spec.fields, "b"), 1);
  EXPECT_EQ(FindField(spec.fields, "q"), -1);
  EXPECT_EQ(spec.FindOutput("q"), 0);
  EXPECT_EQ(spec.FindOutput("a"), -1);
}

TEST(PolicySpec, CountsTheBytesOfABlock) {
  PolicySpec spec;
  spec.tokens_per_block = 16;
  spec.kv_bytes_per_token = 1024;

  EXPECT_EQ(spec.kv_bytes_per_block(), 16384);
}

PolicySpec SmallSpec() {
  PolicySpec spec;
  spec.format = "small";
  spec.device = "cpu";
  spec.dtype = "float32";
  FieldSpec field;
  field.name = "x";
  field.shape = {3};
  spec.fields = {field};
  OutputSpec output;
  output.name = "q";
  spec.outputs = {output};
  spec.layers = {LayerSpec()};
  spec.num_actions = 2;
  return spec;
}

TEST(FindDifferenceTest, IsEmptyWhereOnlyWeightsDiffer) {
  PolicySpec other = SmallSpec();
  other.summary = "another summary";
  EXPECT_EQ(FindDifference(SmallSpec(), other), "");
}

TEST(FindDifferenceTest, NamesTheFirstDifference) {
  PolicySpec other = SmallSpec();
  other.fields[0].shape = {4};
  EXPECT_EQ(FindDifference(SmallSpec(), other),
            "field: \"x\" float32 [3] from none to none, not \"x\" float32 [4] "
            "from none to none");
  other = SmallSpec();
  other.num_actions = 3;
  EXPECT_EQ(FindDifference(SmallSpec(), other), "actions: 2, not 3");
  other = SmallSpec();
  other.session_fields = other.fields;
  EXPECT_EQ(FindDifference(SmallSpec(), other), "session inputs: 0, not 1");
  other = SmallSpec();
  other.layers[0].num_heads = 4;
  EXPECT_NE(FindDifference(SmallSpec(), other), "");
}

}  // namespace
}  // namespace stepd
