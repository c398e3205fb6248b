// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/checkpoint.h"

#include <cstring>
#include <filesystem>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/checkpoint/mapped_file.h"
#include "model/checkpoint/safetensors.h"
#include "model/policy_description.h"
#include "tests/model/checkpoint/weights_files.h"

namespace stepd::checkpoint {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

const fs::path kGolden = "tests/golden";
const fs::path kSmall = kGolden / "mouse_v03/none_sum_all/checkpoint";

absl::StatusOr<PolicyDescription> Read(const fs::path& directory,
                                       const ReadOptions& options = {}) {
  const auto checkpoint = Checkpoint::Open(directory, options);
  if (!checkpoint.ok()) return checkpoint.status();
  return (*checkpoint)->Read();
}

TEST(CheckpointTest, ReadsCheckpointFromSafetensors) {
  const auto policy = Read(kGolden / "mouse_v03/llama_sum_mha/checkpoint");

  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_EQ(policy->summary, "MOUSE v0.3, Llama backbone, width 32");
}

TEST(CheckpointTest, ReadsCheckpointFromTorchFile) {
  const auto policy = Read(kGolden / "mouse_v03/qwen3_bin/checkpoint");

  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_EQ(policy->summary, "MOUSE v0.3, Qwen3 backbone, width 32");
}

TEST(CheckpointTest, NamesMissingConfig) {
  const auto policy = Read(MakeTestDirectory());

  EXPECT_EQ(policy.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(policy.status().message(), HasSubstr("config.json"));
}

TEST(CheckpointTest, NamesMissingWeights) {
  const fs::path directory = MakeTestDirectory();
  fs::copy(kGolden / "mouse_v03/none_sum_all/checkpoint/config.json",
           directory / "config.json");

  const auto policy = Read(directory);

  EXPECT_EQ(policy.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(policy.status().message(), HasSubstr("model.safetensors"));
  EXPECT_THAT(policy.status().message(), HasSubstr("pytorch_model.bin"));
}

TEST(CheckpointTest, RefusesConfigThatIsNotJson) {
  const fs::path directory = MakeTestDirectory();
  WriteTestFile("config.json", "{\"hidden_dim\": 32,");

  const auto policy = Read(directory);

  EXPECT_EQ(policy.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(policy.status().message(), HasSubstr("config.json: is not JSON"));
}

TEST(CheckpointTest, SaysWhatAnUnknownFormatIsAndWhatWasLookedFor) {
  const fs::path directory = MakeTestDirectory();
  WriteTestFile("config.json", R"({"format": "other-v9"})");

  const auto policy = Read(directory);

  EXPECT_EQ(policy.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(policy.status().message(), HasSubstr("'other-v9'"));
  EXPECT_THAT(policy.status().message(), HasSubstr("embedding_kwargs"));
}

TEST(CheckpointTest, RefusesTensorsThatTheFormatLeaves) {
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

  const auto policy = Read(directory);

  EXPECT_THAT(policy.status().message(), HasSubstr("model.safetensors"));
  EXPECT_THAT(policy.status().message(), HasSubstr("sp_head.norm.weight"));
}

// ---- Tensors laid over a checkpoint -----------------------------------------

struct NewTensor {
  std::string name;
  std::string dtype = "F32";
  std::vector<std::int64_t> shape;
  std::string bytes;
};

std::shared_ptr<const MappedFile> WriteTensors(
    const std::vector<NewTensor>& tensors) {
  std::vector<std::string> entries;
  std::string data;
  for (const NewTensor& tensor : tensors) {
    entries.push_back(absl::StrCat(
        "\"", tensor.name, "\":{\"dtype\":\"", tensor.dtype, "\",\"shape\":[",
        absl::StrJoin(tensor.shape, ","), "],\"data_offsets\":[", data.size(),
        ",", data.size() + tensor.bytes.size(), "]}"));
    data += tensor.bytes;
  }
  std::string file =
      MakeSafetensors(absl::StrCat("{", absl::StrJoin(entries, ","), "}"), 0);
  return *MappedFile::Open(WriteTestFile("new.safetensors", file + data));
}

// The tensors of a checkpoint's file, as they are.
std::vector<NewTensor> TensorsOf(const fs::path& checkpoint) {
  std::vector<NewTensor> tensors;
  const auto stored = ReadSafetensors(checkpoint / "model.safetensors");
  for (const StoredTensor& tensor : *stored) {
    tensors.push_back({tensor.name, tensor.dtype_name, tensor.shape,
                       std::string(tensor.bytes)});
  }
  return tensors;
}

absl::StatusOr<PolicyDescription> ReadWith(
    const std::vector<NewTensor>& tensors, TensorSet set,
    const ReadOptions& options = {}) {
  const auto base = Checkpoint::Open(kSmall, options);
  const auto laid_over = (*base)->WithTensors(WriteTensors(tensors), set);
  if (!laid_over.ok()) return laid_over.status();
  return (*laid_over)->Read();
}

TEST(CheckpointTest, IsReadWithAllTensorsOfAnotherFile) {
  EXPECT_TRUE(ReadWith(TensorsOf(kSmall), TensorSet::kAll).ok());
}

TEST(CheckpointTest, IsReadWithOneTensorOfAnotherFileInAnotherPrecision) {
  NewTensor tensor = TensorsOf(kSmall).front();
  ASSERT_EQ(tensor.dtype, "F32");
  tensor.dtype = "BF16";
  tensor.bytes.resize(tensor.bytes.size() / 2);
  EXPECT_TRUE(ReadWith({tensor}, TensorSet::kSome).ok());
}

TEST(CheckpointTest, NamesTensorsThatAreMissingOfAll) {
  std::vector<NewTensor> tensors = TensorsOf(kSmall);
  const std::string name = tensors.back().name;
  tensors.pop_back();
  EXPECT_THAT(ReadWith(tensors, TensorSet::kAll).status().message(),
              HasSubstr(absl::StrCat("tensor '", name, "' is missing")));
}

TEST(CheckpointTest, NamesNewTensorsThatItDoesNotHave) {
  NewTensor tensor = TensorsOf(kSmall).front();
  tensor.name = "unheard_of";
  const auto policy = ReadWith({tensor}, TensorSet::kSome);
  EXPECT_EQ(policy.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(policy.status().message(),
              HasSubstr("tensor 'unheard_of' is not in the checkpoint"));
}

TEST(CheckpointTest, NamesNewTensorsOfAnotherShape) {
  NewTensor tensor = TensorsOf(kSmall).front();
  tensor.shape.insert(tensor.shape.begin(), 1);
  EXPECT_THAT(ReadWith({tensor}, TensorSet::kSome).status().message(),
              HasSubstr(absl::StrCat("tensor '", tensor.name, "' has shape")));
}

TEST(CheckpointTest, NamesNewTensorsOfIntegers) {
  NewTensor tensor = TensorsOf(kSmall).front();
  tensor.dtype = "I32";
  EXPECT_THAT(ReadWith({tensor}, TensorSet::kSome).status().message(),
              HasSubstr("has dtype I32"));
}

TEST(CheckpointTest, NamesTensorsThatAreNotFiniteIfTheyAreRefused) {
  ReadOptions options;
  options.non_finite = NonFiniteWeights::kRefuse;
  EXPECT_TRUE(Read(kSmall, options).ok());
  for (const float value : {std::numeric_limits<float>::quiet_NaN(),
                            -std::numeric_limits<float>::infinity()}) {
    NewTensor tensor = TensorsOf(kSmall).front();
    std::memcpy(&tensor.bytes[tensor.bytes.size() - 4], &value, 4);
    EXPECT_TRUE(ReadWith({tensor}, TensorSet::kSome).ok());
    const auto policy = ReadWith({tensor}, TensorSet::kSome, options);
    EXPECT_THAT(policy.status().message(),
                HasSubstr(absl::StrCat("tensor '", tensor.name,
                                       "' holds NaN or an infinity")));
  }
}

TEST(CheckpointTest, OutlivesTheFileThatIsLaidOverIt) {
  const auto base = Checkpoint::Open(kSmall);
  auto file = WriteTensors(TensorsOf(kSmall));
  const auto over = (*base)->WithTensors(file, TensorSet::kAll);
  file.reset();
  EXPECT_TRUE((*over)->Read().ok());
}

}  // namespace
}  // namespace stepd::checkpoint
