// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/torch_file.h"

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/model/checkpoint/weights_files.h"

namespace stepd::checkpoint {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr std::int32_t kMax = std::numeric_limits<std::int32_t>::max();
const std::string kSixFloats = "aaaabbbbccccddddeeeeffff";

TEST(TorchFile, ListsTensors) {
  TensorPickle last;
  last.name = "last";
  last.offset = 4;
  last.shape = {2};
  last.strides = {1};
  const std::string path = WriteTestFile(
      "x.bin", MakeTorchFile(PickleStateDict({{}, last}), kSixFloats));

  const auto tensors = ReadTorchFile(path);

  ASSERT_TRUE(tensors.ok()) << tensors.status();
  ASSERT_THAT(*tensors, SizeIs(2));
  EXPECT_EQ((*tensors)[0].name, "w");
  EXPECT_EQ((*tensors)[0].dtype, DType::kFloat32);
  EXPECT_THAT((*tensors)[0].shape, ElementsAre(2, 3));
  EXPECT_EQ((*tensors)[0].bytes, kSixFloats);
  EXPECT_EQ((*tensors)[1].bytes, "eeeeffff");
}

TEST(TorchFile, ReadsTransposedTensors) {
  TensorPickle transposed;
  transposed.shape = {3, 2};
  transposed.strides = {1, 3};
  const std::string path = WriteTestFile(
      "x.bin", MakeTorchFile(PickleStateDict({transposed}), kSixFloats));

  const auto tensors = ReadTorchFile(path);

  ASSERT_TRUE(tensors.ok()) << tensors.status();
  EXPECT_THAT(tensors->front().strides, ElementsAre(1, 3));
  EXPECT_EQ(tensors->front().bytes, kSixFloats);
}

TEST(TorchFile, ReadsARecordedFile) {
  const auto tensors = ReadTorchFile(
      "tests/golden/mouse_v03/qwen3_bin/checkpoint/pytorch_model.bin");

  ASSERT_TRUE(tensors.ok()) << tensors.status();
  EXPECT_THAT(*tensors, SizeIs(49));
}

TEST(TorchFile, RefusesARecordedFileCutAnywhere) {
  const std::string whole = ReadTestFile(
      "tests/golden/mouse_v03/qwen3_bin/checkpoint/pytorch_model.bin");

  for (std::size_t size = 0; size < whole.size(); size += 997) {
    const std::string path = WriteTestFile("cut.bin", whole.substr(0, size));

    const auto tensors = ReadTorchFile(path);

    ASSERT_EQ(tensors.status().code(), absl::StatusCode::kInvalidArgument)
        << "cut after " << size << " bytes";
    EXPECT_THAT(tensors.status().message(), HasSubstr(path));
  }
}

struct BadTensor {
  const char* name;
  TensorPickle tensor;
  const char* error;
};

class BadTorchTensor : public ::testing::TestWithParam<BadTensor> {};

TEST_P(BadTorchTensor, IsRefused) {
  const std::string path = WriteTestFile(
      "bad.bin",
      MakeTorchFile(PickleStateDict({GetParam().tensor}), kSixFloats));

  const auto tensors = ReadTorchFile(path);

  ASSERT_EQ(tensors.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(tensors.status().message(), HasSubstr(path + ": tensor 'w': "));
  EXPECT_THAT(tensors.status().message(), HasSubstr(GetParam().error));
}

// name, dtype, storage, its elements, offset, shape, strides
INSTANTIATE_TEST_SUITE_P(
    Tensors, BadTorchTensor,
    ::testing::ValuesIn(std::vector<BadTensor>{
        {"StorageMissing", {"w", "FloatStorage", "1"}, "'1' is missing"},
        {"StorageElsewhere",
         {"w", "FloatStorage", "../data.pkl"},
         "'../data.pkl' is missing"},
        {"StorageTooShort", {"w", "FloatStorage", "0", 7}, "has 24 bytes"},
        {"StorageTooLong", {"w", "FloatStorage", "0", 5}, "has 24 bytes"},
        {"StorageOfNegativeSize",
         {"w", "FloatStorage", "0", -6},
         "has 24 bytes"},
        {"WrongDtype", {"w", "DoubleStorage", "0", 6}, "has 24 bytes"},
        {"OffsetTooFar", {"w", "FloatStorage", "0", 6, 1}, "beyond"},
        {"OffsetBehindTheEnd",
         {"w", "FloatStorage", "0", 6, 7, {0}, {1}},
         "beyond"},
        {"NegativeOffset", {"w", "FloatStorage", "0", 6, -1}, "beyond"},
        {"ShapeTooBig",
         {"w", "FloatStorage", "0", 6, 0, {3, 3}, {3, 1}},
         "beyond"},
        {"NegativeSize",
         {"w", "FloatStorage", "0", 6, 0, {-2, 3}, {3, 1}},
         "beyond"},
        {"NegativeStride",
         {"w", "FloatStorage", "0", 6, 5, {2, 3}, {-3, 1}},
         "beyond"},
        {"StrideTooBig",
         {"w", "FloatStorage", "0", 6, 0, {2, 3}, {4, 1}},
         "beyond"},
        {"StrideOverflows",
         {"w", "FloatStorage", "0", 6, 0, {kMax, kMax}, {kMax, kMax}},
         "beyond"},
        {"ShapeOverflows",
         {"w", "FloatStorage", "0", 6, 0, {kMax, kMax, kMax}, {0, 0, 0}},
         "beyond"},
        {"Repeats",
         {"w", "FloatStorage", "0", 6, 0, {kMax}, {0}},
         "repeats elements"},
        {"FewerStrides",
         {"w", "FloatStorage", "0", 6, 0, {2, 3}, {1}},
         "more sizes than strides"},
    }),
    [](const auto& info) { return std::string(info.param.name); });

struct BadFile {
  const char* name;
  std::string bytes;
  const char* error;
};

class BadTorchFile : public ::testing::TestWithParam<BadFile> {};

TEST_P(BadTorchFile, IsRefused) {
  const std::string path = WriteTestFile("bad.bin", GetParam().bytes);

  const auto tensors = ReadTorchFile(path);

  ASSERT_EQ(tensors.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(tensors.status().message(), HasSubstr(path));
  EXPECT_THAT(tensors.status().message(), HasSubstr(GetParam().error));
}

INSTANTIATE_TEST_SUITE_P(
    Files, BadTorchFile,
    ::testing::ValuesIn(std::vector<BadFile>{
        {"Empty", "", "too short"},
        {"NoZip", std::string(100, 'x'), "does not end with a ZIP directory"},
        {"NoMembers", MakeZip({}), "has no members"},
        {"NoFolder", MakeZip({{"data.pkl", "x"}}), "one root folder"},
        {"TwoFolders", MakeZip({{"a/data.pkl", "x"}, {"b/data/0", "x"}}),
         "one root folder"},
        {"NoPickle", MakeZip({{"a/data/0", "x"}}), "has no member data.pkl"},
        {"BigEndian",
         MakeZip({{"a/data.pkl", PickleStateDict({})}, {"a/byteorder", "big"}}),
         "byteorder is not little"},
        {"HostilePickle",
         MakeTorchFile("\x80\x02" + PickleGlobal("os", "system") + ".", ""),
         "names os.system, which is refused"},
    }),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace stepd::checkpoint
