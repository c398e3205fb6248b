// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The expected frequencies were computed in Python with PyTorch, from the
// formulas of docs/checkpoints.md and in their order of operations.

#include "model/checkpoint/rope_parameters.h"

#include <optional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace stepd::checkpoint {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

RopeConfig Read(const std::string& text, const RopeGeometry& geometry,
                absl::Status* error) {
  const json object = json::parse(text);
  return ReadRopeParameters(ConfigReader(object, "f.json", error), geometry);
}

struct RopeCase {
  const char* name;
  const char* parameters;
  RopeGeometry geometry;
  std::vector<float> frequencies;
  float attention_factor;
};

class Rope : public ::testing::TestWithParam<RopeCase> {};

TEST_P(Rope, HasTheFrequenciesOfTheOriginalToTheLastBit) {
  absl::Status error;

  const RopeConfig rope =
      Read(GetParam().parameters, GetParam().geometry, &error);

  ASSERT_TRUE(error.ok()) << error;
  EXPECT_EQ(rope.inverse_frequencies, GetParam().frequencies);
  EXPECT_EQ(rope.attention_factor, GetParam().attention_factor);
}

const std::vector<float> kDefault8 = {1.0F, 0x1.99999ap-4F, 0x1.47ae14p-7F,
                                      0x1.0624dep-10F};

INSTANTIATE_TEST_SUITE_P(
    Types, Rope,
    ::testing::ValuesIn(std::vector<RopeCase>{
        {"Default", R"({})", {8, 4096}, kDefault8, 1.0F},
        {"Theta",
         R"({"rope_type": "default", "rope_theta": 500000.0})",
         {16, 4096},
         {1.0F, 0x1.8d276p-3F, 0x1.34119p-5F, 0x1.ddee9ep-8F, 0x1.72ba42p-10F,
          0x1.1f91fp-12F, 0x1.be2188p-15F, 0x1.5a0f4ep-17F},
         1.0F},
        {"Linear",
         R"({"type": "linear", "factor": 4.0})",
         {8, 4096},
         {0.25F, 0x1.99999ap-6F, 0x1.47ae14p-9F, 0x1.0624dep-12F},
         1.0F},
        {"Llama3",
         R"({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
             "high_freq_factor": 4.0, "original_max_position_embeddings": 64})",
         {8, 512},
         {1.0F, 0x1.ab5e6p-7F, 0x1.47ae14p-10F, 0x1.0624dep-13F},
         1.0F},
        {"Llama3LengthOfTheDecoder",
         R"({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
             "high_freq_factor": 4.0})",
         {8, 64},
         {1.0F, 0x1.ab5e6p-7F, 0x1.47ae14p-10F, 0x1.0624dep-13F},
         1.0F},
        {"Yarn",
         R"({"rope_type": "yarn", "factor": 4.0, "rope_theta": 5000.0,
             "original_max_position_embeddings": 64})",
         {16, 256},
         {1.0F, 0x1.08d80ap-2F, 0x1.e71968p-5F, 0x1.4ff382p-7F, 0x1.cf68d6p-9F,
          0x1.3f9cc8p-10F, 0x1.b8df34p-12F, 0x1.30117cp-13F},
         1.138629436111989F},
        {"YarnWithoutTruncation",
         R"({"rope_type": "yarn", "factor": 4.0, "rope_theta": 5000.0,
             "original_max_position_embeddings": 64, "truncate": false,
             "attention_factor": 0.5})",
         {16, 256},
         {1.0F, 0x1.cf4822p-3F, 0x1.2fe62p-5F, 0x1.4ff382p-7F, 0x1.cf68d6p-9F,
          0x1.3f9cc8p-10F, 0x1.b8df34p-12F, 0x1.30117cp-13F},
         0.5F},
        {"Proportional",
         R"({"rope_type": "proportional", "partial_rotary_factor": 0.5,
             "factor": 2.0})",
         {8, 4096},
         {0.5F, 0x1.99999ap-5F, 0.0F, 0.0F},
         1.0F},
    }),
    [](const auto& info) { return std::string(info.param.name); });

TEST(RopeParameters, AreOptional) {
  EXPECT_EQ(ReadRopeParameters(std::nullopt, {8, 4096}).inverse_frequencies,
            kDefault8);
}

TEST(RopeParameters, CombineYarnScales) {
  absl::Status error;

  const RopeConfig rope =
      Read(R"({"rope_type": "yarn", "factor": 40, "mscale": 1.0,
               "mscale_all_dim": 0.5})",
           {16, 256}, &error);

  // (0.1 ln 40 + 1) / (0.05 ln 40 + 1)
  EXPECT_FLOAT_EQ(rope.attention_factor, 1.3688879F / 1.1844440F);
}

struct BadRope {
  const char* name;
  const char* parameters;
  const char* error;
};

class BadRopeParameters : public ::testing::TestWithParam<BadRope> {};

TEST_P(BadRopeParameters, AreRefused) {
  absl::Status error;

  Read(GetParam().parameters, {8, 4096}, &error);

  EXPECT_EQ(error.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(error.message(), HasSubstr(GetParam().error));
}

INSTANTIATE_TEST_SUITE_P(
    Parameters, BadRopeParameters,
    ::testing::ValuesIn(std::vector<BadRope>{
        {"Dynamic", R"({"rope_type": "dynamic", "factor": 2.0})",
         "f.json: rope_type: 'dynamic' is refused"},
        {"Longrope", R"({"rope_type": "longrope"})",
         "f.json: rope_type: 'longrope' is refused"},
        {"UnknownType", R"({"type": "spiral"})",
         "f.json: rope_type: 'spiral' is unknown"},
        {"UnknownKey", R"({"rope_tetha": 5.0})",
         "f.json: rope_tetha: is not a key"},
        {"KeyOfAnotherType", R"({"rope_type": "linear", "factor": 2.0,
                                 "beta_fast": 32})",
         "f.json: beta_fast: is not a key"},
        {"FactorMissing", R"({"rope_type": "linear"})",
         "f.json: factor: is missing"},
        {"FactorZero", R"({"rope_type": "yarn", "factor": 0})",
         "f.json: factor: must be a number above 0"},
        {"ThetaOne", R"({"rope_theta": 1})",
         "f.json: rope_theta: must be a number above 1"},
        {"FrequencyFactorsEqual",
         R"({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0,
             "high_freq_factor": 4.0})",
         "f.json: high_freq_factor: must be above low_freq_factor"},
    }),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace stepd::checkpoint
