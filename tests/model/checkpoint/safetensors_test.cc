// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/safetensors.h"

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/model/checkpoint/weights_files.h"

namespace stepd::checkpoint {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kTwoTensors[] =
    R"({"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [8, 32]},
        "b": {"dtype": "I64", "shape": [], "data_offsets": [0, 8]},
        "__metadata__": {"format": "pt"}})";

TEST(Safetensors, ListsTensorsInOrderOfTheirBytes) {
  const std::string path =
      WriteTestFile("x.safetensors", MakeSafetensors(kTwoTensors, 32));

  const auto tensors = ReadSafetensors(path);

  ASSERT_TRUE(tensors.ok()) << tensors.status();
  ASSERT_THAT(*tensors, SizeIs(2));
  EXPECT_EQ((*tensors)[0].name, "b");
  EXPECT_EQ((*tensors)[0].dtype, DType::kInt64);
  EXPECT_THAT((*tensors)[0].shape, IsEmpty());
  EXPECT_EQ((*tensors)[1].name, "a");
  EXPECT_EQ((*tensors)[1].dtype, DType::kFloat32);
  EXPECT_THAT((*tensors)[1].shape, ElementsAre(2, 3));
  EXPECT_THAT((*tensors)[1].strides, ElementsAre(3, 1));
  EXPECT_EQ((*tensors)[1].bytes.size(), 24);
}

TEST(Safetensors, KeepsTheFileForAsLongAsATensorLives) {
  const std::string path =
      WriteTestFile("x.safetensors", MakeSafetensors(kTwoTensors, 32));
  std::vector<StoredTensor> tensors = *ReadSafetensors(path);

  const StoredTensor last = std::move(tensors.back());
  tensors.clear();
  std::filesystem::remove(path);

  EXPECT_EQ(last.bytes, std::string(24, '\1'));
}

TEST(Safetensors, ListsDtypesItHasNoUseFor) {
  const std::string path = WriteTestFile(
      "x.safetensors",
      MakeSafetensors(
          R"({"c": {"dtype": "C64", "shape": [2], "data_offsets": [0, 16]},
              "n": {"dtype": "NEW", "shape": [2], "data_offsets": [16, 21]}})",
          21));

  const auto tensors = ReadSafetensors(path);

  ASSERT_TRUE(tensors.ok()) << tensors.status();
  EXPECT_EQ((*tensors)[0].dtype, std::nullopt);
  EXPECT_EQ((*tensors)[0].dtype_name, "C64");
  EXPECT_EQ((*tensors)[1].dtype, std::nullopt);
}

TEST(Safetensors, ReadsEmptyTensorsAndEmptyFiles) {
  const std::string one = WriteTestFile(
      "one.safetensors",
      MakeSafetensors(
          R"({"e": {"dtype": "F32", "shape": [0, 3], "data_offsets": [0, 0]}})",
          0));
  const std::string none =
      WriteTestFile("none.safetensors", MakeSafetensors("{}", 0));

  EXPECT_THAT(*ReadSafetensors(one), SizeIs(1));
  EXPECT_THAT(*ReadSafetensors(none), IsEmpty());
}

TEST(Safetensors, SaysThatAFileIsNotThere) {
  const auto tensors = ReadSafetensors("no/such.safetensors");

  EXPECT_EQ(tensors.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(tensors.status().message(), HasSubstr("no/such.safetensors"));
}

TEST(Safetensors, RefusesADirectory) {
  const auto tensors = ReadSafetensors(MakeTestDirectory());

  EXPECT_EQ(tensors.status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(Safetensors, RefusesTheFileCutAnywhere) {
  const std::string whole = MakeSafetensors(kTwoTensors, 32);

  for (std::size_t size = 0; size < whole.size(); ++size) {
    const std::string path =
        WriteTestFile("cut.safetensors", whole.substr(0, size));

    const auto tensors = ReadSafetensors(path);

    ASSERT_EQ(tensors.status().code(), absl::StatusCode::kInvalidArgument)
        << "cut after " << size << " bytes";
    EXPECT_THAT(tensors.status().message(), HasSubstr(path));
  }
}

struct BadHeader {
  const char* name;
  std::string header;
  std::size_t num_data_bytes;
  const char* error;
};

std::string OneTensor(const std::string& fields) {
  return R"({"w": {)" + fields + "}}";
}

class BadSafetensors : public ::testing::TestWithParam<BadHeader> {};

TEST_P(BadSafetensors, IsRefused) {
  const std::string path = WriteTestFile(
      "bad.safetensors",
      MakeSafetensors(GetParam().header, GetParam().num_data_bytes));

  const auto tensors = ReadSafetensors(path);

  ASSERT_EQ(tensors.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(tensors.status().message(), HasSubstr(path));
  EXPECT_THAT(tensors.status().message(), HasSubstr(GetParam().error));
}

INSTANTIATE_TEST_SUITE_P(
    Headers, BadSafetensors,
    ::testing::ValuesIn(std::vector<BadHeader>{
        {"NoJson", "nonsense", 0, "header: is not JSON at byte"},
        {"NoObject", "[1]", 0, "header: is not a JSON object"},
        {"Trailing", "{} {}", 0, "header: is not JSON at byte"},
        {"TooDeep", std::string(1000, '['), 0, "nested too deeply"},
        {"InvalidUtf8", "{\"\xff\": 1}", 0, "is not JSON"},
        {"NameTwice",
         R"({"w": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
             "w": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}})",
         1, "key 'w' is there twice"},
        {"KeyTwice", OneTensor(R"("dtype": "U8", "dtype": "I8", "shape": [1],
                                  "data_offsets": [0, 1])"),
         1, "key 'dtype' is there twice"},
        {"Metadata", R"({"__metadata__": {"a": 1}})", 0, "__metadata__"},
        {"EntryIsNoObject", R"({"w": 3})", 0, "tensor 'w': must have exactly"},
        {"KeyMissing", OneTensor(R"("dtype": "U8", "shape": [1])"), 1,
         "tensor 'w': must have exactly"},
        {"KeyUnknown", OneTensor(R"("dtype": "U8", "shape": [1],
                                    "data_offsets": [0, 1], "x": 1)"),
         1, "tensor 'w': must have exactly"},
        {"DtypeIsNoString", OneTensor(R"("dtype": 1, "shape": [1],
                                         "data_offsets": [0, 1])"),
         1, "tensor 'w': dtype must be a string"},
        {"WrongDtype", OneTensor(R"("dtype": "F64", "shape": [2],
                                    "data_offsets": [0, 8])"),
         8, "tensor 'w': data_offsets hold 8 bytes"},
        {"NegativeSize", OneTensor(R"("dtype": "U8", "shape": [-1],
                                      "data_offsets": [0, 1])"),
         1, "tensor 'w': shape must be"},
        {"FractionalSize", OneTensor(R"("dtype": "U8", "shape": [1.0],
                                        "data_offsets": [0, 1])"),
         1, "tensor 'w': shape must be"},
        {"SizeOver63Bits",
         OneTensor(R"("dtype": "U8", "shape": [9223372036854775808],
                      "data_offsets": [0, 1])"),
         1, "tensor 'w': shape must be"},
        {"ShapeOverflows",
         OneTensor(R"("dtype": "U8", "shape": [4294967296, 4294967296],
                      "data_offsets": [0, 0])"),
         0, "tensor 'w': its shape is too big"},
        {"EmptyShapeHidesOverflow",
         OneTensor(R"("dtype": "U8", "shape": [4294967296, 4294967296, 0],
                      "data_offsets": [0, 0])"),
         0, "tensor 'w': its shape is too big"},
        {"BytesOverflow",
         OneTensor(R"("dtype": "F64", "shape": [2305843009213693952],
                      "data_offsets": [0, 0])"),
         0, "tensor 'w': its shape is too big"},
        {"EndBeforeBegin", OneTensor(R"("dtype": "U8", "shape": [1],
                                        "data_offsets": [2, 1])"),
         2, "tensor 'w': data_offsets must be"},
        {"ThreeOffsets", OneTensor(R"("dtype": "U8", "shape": [1],
                                      "data_offsets": [0, 1, 1])"),
         1, "tensor 'w': data_offsets must be"},
        {"OffsetOverflows",
         OneTensor(R"("dtype": "U8", "shape": [1], "data_offsets":
                      [18446744073709551615, 18446744073709551616])"),
         1, "tensor 'w': data_offsets must be"},
        {"BeyondTheFile", OneTensor(R"("dtype": "U8", "shape": [4],
                                       "data_offsets": [0, 4])"),
         3, "tensor 'w': ends at byte 4 of 3"},
        {"FarBeyondTheFile",
         OneTensor(R"("dtype": "U8", "shape": [1], "data_offsets":
                      [9223372036854775806, 9223372036854775807])"),
         3, "tensor 'w': ends at byte 9223372036854775807 of 3"},
        {"Overlap",
         R"({"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
             "b": {"dtype": "U8", "shape": [4], "data_offsets": [3, 7]}})",
         7, "tensor 'b': begins at byte 3, inside its neighbour"},
        {"Hole",
         R"({"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
             "b": {"dtype": "U8", "shape": [4], "data_offsets": [5, 9]}})",
         9, "tensor 'b': begins at byte 5, after a hole"},
        {"TrailingBytes", OneTensor(R"("dtype": "U8", "shape": [1],
                                       "data_offsets": [0, 1])"),
         2, "1 bytes after the last tensor"},
    }),
    [](const auto& info) { return std::string(info.param.name); });

TEST(Safetensors, RefusesAHugeHeader) {
  std::string file = MakeSafetensors("{}", 0);
  for (const char* size : {"\xff\xff\xff\xff\xff\xff\xff\xff",
                           "\x01\xe1\xf5\x05\x00\x00\x00\x00"}) {
    file.replace(0, 8, size, 8);
    const std::string path = WriteTestFile("huge.safetensors", file);

    const auto tensors = ReadSafetensors(path);

    EXPECT_THAT(tensors.status().message(), HasSubstr("over the limit"));
  }
}

}  // namespace
}  // namespace stepd::checkpoint
