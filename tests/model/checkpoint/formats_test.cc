// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/formats.h"

#include <filesystem>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/model/checkpoint/weights_files.h"

namespace stepd::checkpoint {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

const fs::path kGolden = "tests/golden";

TEST(Formats, ReadsCheckpointFromSafetensors) {
  const auto policy =
      ReadCheckpoint(kGolden / "mouse_v03/llama_sum_mha/checkpoint");

  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_EQ(policy->summary, "MOUSE v0.3, Llama backbone, width 32");
}

TEST(Formats, ReadsCheckpointFromTorchFile) {
  const auto policy =
      ReadCheckpoint(kGolden / "mouse_v03/qwen3_bin/checkpoint");

  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_EQ(policy->summary, "MOUSE v0.3, Qwen3 backbone, width 32");
}

TEST(Formats, NamesMissingConfig) {
  const auto policy = ReadCheckpoint(MakeTestDirectory());

  EXPECT_EQ(policy.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(policy.status().message(), HasSubstr("config.json"));
}

TEST(Formats, NamesMissingWeights) {
  const fs::path directory = MakeTestDirectory();
  fs::copy(kGolden / "mouse_v03/none_sum_all/checkpoint/config.json",
           directory / "config.json");

  const auto policy = ReadCheckpoint(directory);

  EXPECT_EQ(policy.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(policy.status().message(), HasSubstr("model.safetensors"));
  EXPECT_THAT(policy.status().message(), HasSubstr("pytorch_model.bin"));
}

TEST(Formats, RefusesConfigThatIsNotJson) {
  const fs::path directory = MakeTestDirectory();
  WriteTestFile("config.json", "{\"hidden_dim\": 32,");

  const auto policy = ReadCheckpoint(directory);

  EXPECT_EQ(policy.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(policy.status().message(), HasSubstr("config.json: is not JSON"));
}

TEST(Formats, SaysWhatAnUnknownFormatIsAndWhatWasLookedFor) {
  const fs::path directory = MakeTestDirectory();
  WriteTestFile("config.json", R"({"format": "other-v9"})");

  const auto policy = ReadCheckpoint(directory);

  EXPECT_EQ(policy.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(policy.status().message(), HasSubstr("'other-v9'"));
  EXPECT_THAT(policy.status().message(), HasSubstr("embedding_kwargs"));
}

TEST(Formats, RefusesTensorsThatTheFormatLeaves) {
  const fs::path directory = MakeTestDirectory();
  const fs::path golden = kGolden / "mouse_v03";
  fs::copy(golden / "none_sum_all/checkpoint/config.json", directory);
  fs::copy(golden / "none_sum_all/checkpoint/model.safetensors", directory);
  std::string config = ReadTestFile(directory / "config.json");
  const std::string key =
      "\"sp_head_kwargs\": {\n    \"hidden_dim\": 16,\n"
      "    \"num_layers\": 2";
  ASSERT_NE(config.find(key), std::string::npos);
  config.replace(config.find(key) + key.size() - 1, 1, "0");
  WriteTestFile("config.json", config);

  const auto policy = ReadCheckpoint(directory);

  EXPECT_THAT(policy.status().message(), HasSubstr("model.safetensors"));
  EXPECT_THAT(policy.status().message(), HasSubstr("sp_head.norm.weight"));
}

}  // namespace
}  // namespace stepd::checkpoint
