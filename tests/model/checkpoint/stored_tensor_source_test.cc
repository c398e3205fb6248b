// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/stored_tensor_source.h"

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ATen/ops/equal.h"
#include "ATen/ops/tensor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace stepd::checkpoint {
namespace {

using ::testing::HasSubstr;

// Room for six numbers, for tests to take bytes from.
class StoredTensorSourceTest : public ::testing::Test {
 protected:
  StoredTensor Make(const std::string& name, std::vector<std::int64_t> shape,
                    std::size_t num_bytes = 24) {
    StoredTensor tensor;
    tensor.name = name;
    tensor.dtype_name = "F32";
    tensor.dtype = DType::kFloat32;
    tensor.strides = RowMajorStrides(shape);
    tensor.shape = std::move(shape);
    tensor.bytes = {reinterpret_cast<const char*>(numbers_), num_bytes};
    return tensor;
  }

  static std::unique_ptr<StoredTensorSource> Source(StoredTensor tensor) {
    return *StoredTensorSource::Create("f.bin", {std::move(tensor)});
  }

  alignas(16) float numbers_[8] = {1, 2, 3, 4, 5, 6, 7, 8};
};

TEST_F(StoredTensorSourceTest, BorrowsContiguousTensors) {
  auto source = Source(Make("w", {2, 3}));

  const auto tensor = source->Take("w", {2, 3});

  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_EQ(tensor->const_data_ptr(), static_cast<const void*>(numbers_));
  EXPECT_TRUE(source->CheckAllTaken().ok());
}

TEST_F(StoredTensorSourceTest, CopiesTransposedTensors) {
  StoredTensor stored = Make("w", {3, 2});
  stored.strides = {1, 3};
  auto source = Source(stored);

  const auto tensor = source->Take("w", {3, 2});

  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_TRUE(tensor->is_contiguous());
  EXPECT_TRUE(at::equal(
      *tensor, at::tensor({1., 4., 2., 5., 3., 6.}, at::kFloat).view({3, 2})));
}

TEST_F(StoredTensorSourceTest, CopiesUnalignedTensors) {
  std::vector<char> bytes(25);
  std::memcpy(bytes.data() + 1, numbers_, 24);
  StoredTensor stored = Make("w", {6});
  stored.bytes = {bytes.data() + 1, 24};
  auto source = Source(stored);

  const auto tensor = source->Take("w", {6});

  ASSERT_TRUE(tensor.ok()) << tensor.status();
  const auto address =
      reinterpret_cast<std::uintptr_t>(tensor->const_data_ptr());
  EXPECT_EQ(address % alignof(float), 0);
  EXPECT_TRUE(
      at::equal(*tensor, at::tensor({1., 2., 3., 4., 5., 6.}, at::kFloat)));
}

TEST_F(StoredTensorSourceTest, KeepsHalfPrecisionAndNarrowsDouble) {
  StoredTensor half = Make("half", {2}, 4);
  half.dtype = DType::kBFloat16;
  StoredTensor full = Make("double", {2}, 16);
  full.dtype = DType::kFloat64;
  auto source = *StoredTensorSource::Create("f.bin", {half, full});

  EXPECT_EQ(source->Take("half", {2})->scalar_type(), at::kBFloat16);
  EXPECT_EQ(source->Take("double", {2})->scalar_type(), at::kFloat);
}

TEST_F(StoredTensorSourceTest, MakesEmptyTensors) {
  auto source = Source(Make("w", {0, 3}, 0));

  EXPECT_EQ(source->Take("w", {0, 3})->numel(), 0);
}

TEST_F(StoredTensorSourceTest, NamesAMissingTensor) {
  auto source = Source(Make("w", {6}));

  EXPECT_FALSE(source->Has("v"));
  EXPECT_EQ(source->Take("v", {6}).status().message(),
            "f.bin: tensor 'v' is missing");
}

TEST_F(StoredTensorSourceTest, NamesBothShapes) {
  auto source = Source(Make("w", {2, 3}));

  EXPECT_EQ(source->Take("w", {3, 2}).status().message(),
            "f.bin: tensor 'w' has shape [2, 3], expected [3, 2]");
}

TEST_F(StoredTensorSourceTest, RefusesIntegers) {
  StoredTensor stored = Make("w", {3});
  stored.dtype = DType::kInt64;
  stored.dtype_name = "I64";
  auto source = Source(stored);

  EXPECT_EQ(source->Take("w", {3}).status().message(),
            "f.bin: tensor 'w' has dtype I64, expected a floating-point one");
}

TEST_F(StoredTensorSourceTest, RefusesDtypesWithoutUse) {
  StoredTensor stored = Make("w", {3});
  stored.dtype = std::nullopt;
  stored.dtype_name = "C64";
  auto source = Source(stored);

  EXPECT_THAT(source->Take("w", {3}).status().message(),
              HasSubstr("has dtype C64"));
}

TEST_F(StoredTensorSourceTest, GivesATensorOnce) {
  auto source = Source(Make("w", {6}));

  EXPECT_TRUE(source->Take("w", {6}).ok());
  EXPECT_EQ(source->Take("w", {6}).status().message(),
            "f.bin: tensor 'w' is used twice");
}

TEST_F(StoredTensorSourceTest, RefusesANameTwice) {
  const auto source =
      StoredTensorSource::Create("f.bin", {Make("w", {6}), Make("w", {6})});

  EXPECT_EQ(source.status().message(), "f.bin: tensor 'w' is there twice");
}

TEST_F(StoredTensorSourceTest, NamesWhatNobodyTook) {
  auto source = *StoredTensorSource::Create(
      "f.bin", {Make("taken", {6}), Make("ignored", {6}), Make("left", {6})});
  ASSERT_TRUE(source->Take("taken", {6}).ok());
  source->Ignore("ignored");
  source->Ignore("not there");

  EXPECT_EQ(source->CheckAllTaken().message(),
            "f.bin: 1 tensor that the config has no place for: 'left'");
}

TEST_F(StoredTensorSourceTest, CountsTheElementsItGave) {
  auto source =
      *StoredTensorSource::Create("f.bin", {Make("w", {2, 3}), Make("v", {6})});
  EXPECT_EQ(source->num_elements_taken(), 0);

  ASSERT_TRUE(source->Take("w", {2, 3}).ok());
  ASSERT_FALSE(source->Take("w", {2, 3}).ok());

  EXPECT_EQ(source->num_elements_taken(), 6);
}

TEST_F(StoredTensorSourceTest, NamesAFewOfMany) {
  std::vector<StoredTensor> tensors;
  for (const char* name : {"a", "b", "c", "d", "e", "f", "g"}) {
    tensors.push_back(Make(name, {6}));
  }
  auto source = *StoredTensorSource::Create("f.bin", std::move(tensors));

  EXPECT_THAT(source->CheckAllTaken().message(),
              HasSubstr("7 tensors that the config has no place for: 'a', 'b', "
                        "'c', 'd', 'e', ..."));
}

}  // namespace
}  // namespace stepd::checkpoint
