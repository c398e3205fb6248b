// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/model/checkpoint/golden_checkpoint.h"

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/checkpoint/safetensors.h"
#include "model/checkpoint/safetensors_shards.h"
#include "model/checkpoint/stored_tensor_source.h"
#include "model/checkpoint/strict_json.h"
#include "model/checkpoint/torch_file.h"
#include "tests/model/checkpoint/weights_files.h"

namespace stepd::checkpoint {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;

// Every key of every object in `value`, as a path.
void CollectKeys(const json& value, const json::json_pointer& at,
                 std::vector<json::json_pointer>* keys) {
  for (const auto& [key, inner] : value.items()) {
    json::json_pointer path = at;
    if (value.is_array()) {
      path /= static_cast<std::size_t>(std::stoul(key));
    } else {
      path /= key;
      keys->push_back(path);
    }
    if (inner.is_structured()) CollectKeys(inner, path, keys);
  }
}

// The path as errors write it.
std::string Dotted(json::json_pointer path) {
  std::string text = path.back();
  for (path.pop_back(); !path.empty(); path.pop_back()) {
    text = path.back() + "." + text;
  }
  return text;
}

}  // namespace

GoldenCheckpoint LoadGolden(const std::string& name) {
  const fs::path directory = fs::path("tests/golden") / name / "checkpoint";
  auto tensors = ReadSafetensorsShards(directory);
  if (!tensors.ok()) tensors = ReadSafetensors(directory / "model.safetensors");
  if (!tensors.ok()) tensors = ReadTorchFile(directory / "pytorch_model.bin");
  return {*ParseStrictJson(ReadTestFile(directory / "config.json")),
          *std::move(tensors)};
}

absl::StatusOr<PolicyDescription> Read(const Format& format,
                                       const GoldenCheckpoint& checkpoint) {
  auto source = *StoredTensorSource::Create("dir/weights", checkpoint.tensors);
  auto policy =
      format.read({"dir/config.json", checkpoint.config}, source.get());
  if (!policy.ok()) return policy;
  if (absl::Status s = source->CheckAllTaken(); !s.ok()) return s;
  return policy;
}

std::string ErrorOf(const Format& format, const GoldenCheckpoint& checkpoint) {
  return std::string(Read(format, checkpoint).status().message());
}

// --- damaged tensors ---------------------------------------------------------

void ExpectMissingTensorsNamed(const Format& format,
                               const GoldenCheckpoint& whole) {
  for (std::size_t i = 0; i < whole.tensors.size(); ++i) {
    GoldenCheckpoint checkpoint = whole;
    checkpoint.tensors.erase(checkpoint.tensors.begin() +
                             static_cast<std::ptrdiff_t>(i));

    EXPECT_EQ(ErrorOf(format, checkpoint),
              absl::StrCat("dir/weights: tensor '", whole.tensors[i].name,
                           "' is missing"));
  }
}

void ExpectExtraTensorsNamed(const Format& format,
                             const GoldenCheckpoint& whole) {
  for (const StoredTensor& tensor : whole.tensors) {
    GoldenCheckpoint checkpoint = whole;
    checkpoint.tensors.push_back(tensor);
    checkpoint.tensors.back().name += "_2";

    EXPECT_THAT(ErrorOf(format, checkpoint),
                HasSubstr(absl::StrCat("'", tensor.name, "_2'")));
  }
}

void ExpectMisshapenTensorsNamed(const Format& format,
                                 const GoldenCheckpoint& whole) {
  for (std::size_t i = 0; i < whole.tensors.size(); ++i) {
    GoldenCheckpoint checkpoint = whole;
    StoredTensor& tensor = checkpoint.tensors[i];
    if (tensor.shape.empty()) tensor.shape.push_back(1);
    ++tensor.shape.back();
    tensor.strides = RowMajorStrides(tensor.shape);

    EXPECT_THAT(ErrorOf(format, checkpoint),
                HasSubstr(absl::StrCat("dir/weights: tensor '", tensor.name,
                                       "' has shape [")));
  }
}

void ExpectIntegerTensorsNamed(const Format& format,
                               const GoldenCheckpoint& whole) {
  for (std::size_t i = 0; i < whole.tensors.size(); ++i) {
    GoldenCheckpoint checkpoint = whole;
    checkpoint.tensors[i].dtype = DType::kInt32;
    checkpoint.tensors[i].dtype_name = "I32";

    EXPECT_THAT(ErrorOf(format, checkpoint),
                HasSubstr(absl::StrCat("tensor '", whole.tensors[i].name,
                                       "' has dtype I32")));
  }
}

// --- damaged configs ---------------------------------------------------------

void ExpectKeysOfAnotherTypeNamed(const Format& format,
                                  const GoldenCheckpoint& whole,
                                  const std::vector<std::string>& ignored) {
  std::vector<json::json_pointer> keys;
  CollectKeys(whole.config, json::json_pointer(), &keys);
  ASSERT_GT(keys.size(), 15);
  for (const json::json_pointer& key : keys) {
    if (std::find(ignored.begin(), ignored.end(), key.back()) !=
        ignored.end()) {
      continue;
    }
    GoldenCheckpoint checkpoint = whole;
    // No key holds arrays of arrays.
    checkpoint.config[key] =
        whole.config[key].is_array() ? json("x") : json::array({json::array()});

    EXPECT_THAT(ErrorOf(format, checkpoint),
                HasSubstr(absl::StrCat("dir/config.json: ", Dotted(key),
                                       ": must be ")));
  }
}

void ExpectUnknownKeysNamed(const Format& format,
                            const GoldenCheckpoint& whole) {
  std::vector<json::json_pointer> paths = {json::json_pointer()};
  CollectKeys(whole.config, json::json_pointer(), &paths);
  for (std::size_t i = 0; i < paths.size(); ++i) {
    const json& value = whole.config[paths[i]];
    if (value.is_array()) {
      for (std::size_t e = 0; e < value.size(); ++e) {
        paths.push_back(paths[i] / e);
      }
    }
    if (!value.is_object() || value.empty()) continue;
    GoldenCheckpoint checkpoint = whole;
    checkpoint.config[paths[i]]["surprise"] = 1;

    EXPECT_THAT(
        ErrorOf(format, checkpoint),
        HasSubstr(absl::StrCat(
            "dir/config.json: ", Dotted(paths[i] / "surprise"), ": is not")));
  }
}

void ExpectWrongValueNamed(const Format& format, GoldenCheckpoint checkpoint,
                           const WrongValue& wrong) {
  const json::json_pointer path(wrong.path);
  if (wrong.value == nullptr) {
    checkpoint.config[path.parent_pointer()].erase(path.back());
  } else {
    checkpoint.config[path] = json::parse(wrong.value);
  }

  EXPECT_THAT(ErrorOf(format, checkpoint),
              HasSubstr(absl::StrCat("dir/config.json: ", wrong.error)));
}

}  // namespace stepd::checkpoint
