// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/safetensors_shards.h"

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/model/checkpoint/weights_files.h"

namespace stepd::checkpoint {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A file with one float32 number under each name.
std::string Shard(const std::vector<std::string>& names) {
  std::string header;
  for (std::size_t i = 0; i < names.size(); ++i) {
    absl::StrAppend(&header, i == 0 ? "{" : ", ", "\"", names[i],
                    R"(": {"dtype": "F32", "shape": [1], "data_offsets": [)",
                    4 * i, ", ", 4 * i + 4, "]}");
  }
  return MakeSafetensors(header + "}", 4 * names.size());
}

class ShardsTest : public ::testing::Test {
 protected:
  ShardsTest() : directory_(MakeTestDirectory()) {
    WriteTestFile("one.safetensors", Shard({"a", "b"}));
    WriteTestFile("two.safetensors", Shard({"c"}));
  }

  static void WriteIndex(const std::string& weight_map) {
    WriteTestFile(
        "model.safetensors.index.json",
        absl::StrCat(R"({"metadata": {}, "weight_map": )", weight_map, "}"));
  }
  static void WriteWholeIndex() {
    WriteIndex(R"({"a": "one.safetensors", "b": "one.safetensors",
                   "c": "two.safetensors"})");
  }

  std::vector<std::string> Names(
      const std::function<bool(absl::string_view)>& wanted = nullptr) {
    std::vector<std::string> names;
    const auto tensors = ReadSafetensorsShards(directory_, wanted);
    EXPECT_TRUE(tensors.ok()) << tensors.status();
    for (const StoredTensor& tensor : *tensors) names.push_back(tensor.name);
    return names;
  }

  std::string Error() {
    const auto tensors = ReadSafetensorsShards(directory_);
    EXPECT_EQ(tensors.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(tensors.status().message());
  }

  const std::string directory_;
};

TEST_F(ShardsTest, GivesTheTensorsOfAllFiles) {
  WriteWholeIndex();

  EXPECT_THAT(Names(), ElementsAre("a", "b", "c"));
}

TEST_F(ShardsTest, OpensOnlyFilesWithATensorThatIsWanted) {
  WriteWholeIndex();
  WriteTestFile("one.safetensors", "not a weights file");

  const auto is_c = [](absl::string_view name) { return name == "c"; };
  const auto is_b = [](absl::string_view name) { return name == "b"; };

  EXPECT_THAT(Names(is_c), ElementsAre("c"));
  EXPECT_FALSE(ReadSafetensorsShards(directory_, is_b).ok());
}

TEST_F(ShardsTest, KnowsThatThereIsNoIndex) {
  EXPECT_EQ(ReadSafetensorsShards(directory_).status().code(),
            absl::StatusCode::kNotFound);
}

TEST_F(ShardsTest, NamesAFileThatIsMissing) {
  WriteIndex(R"({"a": "one.safetensors", "b": "one.safetensors",
                 "c": "three.safetensors"})");

  EXPECT_THAT(Error(), HasSubstr("three.safetensors: the index names this "
                                 "file, but it is missing"));
}

TEST_F(ShardsTest, NamesATensorThatIsNotInItsFile) {
  WriteIndex(R"({"a": "one.safetensors", "b": "one.safetensors",
                 "c": "two.safetensors", "d": "two.safetensors"})");

  EXPECT_THAT(Error(), HasSubstr("two.safetensors: tensor 'd' is missing"));
}

TEST_F(ShardsTest, NamesATensorThatTheIndexPlacesElsewhere) {
  WriteIndex(R"({"a": "one.safetensors", "b": "two.safetensors",
                 "c": "two.safetensors"})");

  EXPECT_THAT(Error(), HasSubstr("one.safetensors: tensor 'b' is not of this "
                                 "file, says the index"));
}

TEST_F(ShardsTest, NamesATensorThatTheIndexDoesNotHave) {
  WriteIndex(R"({"a": "one.safetensors", "c": "two.safetensors"})");

  EXPECT_THAT(Error(), HasSubstr("one.safetensors: tensor 'b' is not of this "
                                 "file, says the index"));
}

TEST_F(ShardsTest, StaysInsideTheDirectory) {
  for (const char* path : {"../one.safetensors", "/etc/one.safetensors",
                           "shards/../one.safetensors", "./one.safetensors",
                           "shards//one.safetensors", ""}) {
    WriteIndex(absl::StrCat(R"({"a": ")", path, "\"}"));

    EXPECT_THAT(Error(), HasSubstr("tensor 'a' is in no file below the "
                                   "checkpoint's folder"))
        << path;
  }
}

TEST_F(ShardsTest, NamesAnIndexThatIsNone) {
  WriteIndex("[]");
  EXPECT_THAT(Error(), HasSubstr("has no object 'weight_map'"));
  WriteIndex(R"({"a": 1})");
  EXPECT_THAT(Error(), HasSubstr("tensor 'a' is in no file"));
  WriteTestFile("model.safetensors.index.json", "{");
  EXPECT_THAT(Error(), HasSubstr("model.safetensors.index.json: is not JSON"));
}

}  // namespace
}  // namespace stepd::checkpoint
