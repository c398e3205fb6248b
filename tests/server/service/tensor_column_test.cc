// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/service/tensor_column.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "proto/stepd/v1/policy_service.pb.h"
#include "tests/server/service/wire.h"

namespace stepd {
namespace {

using ::testing::ElementsAreArray;

const FieldSpec& Real() {
  static const auto* const field =
      new FieldSpec{"real", DType::kFloat32, {}, {}, {}, true};
  return *field;
}

std::vector<float> Column(const v1::Tensor& tensor) {
  const auto column = TensorColumn::Create(Real(), tensor);
  EXPECT_TRUE(column.ok()) << column.status();
  std::vector<float> values;
  for (std::int64_t row = 0; row < column->num_rows(); ++row) {
    values.push_back(LoadFloat(column->Value(row)));
  }
  return values;
}

TEST(TensorColumn, BorrowsValuesOfTheSameType) {
  const v1::Tensor tensor = Floats("real", {2}, {1.5F, -2.5F});

  const auto column = TensorColumn::Create(Real(), tensor);

  ASSERT_TRUE(column.ok());
  EXPECT_EQ(column->Value(1).data, tensor.data().data() + sizeof(float));
}

struct Conversion {
  std::string name;
  v1::Tensor tensor;
  std::vector<float> want;
};

class ConversionTest : public ::testing::TestWithParam<Conversion> {};

TEST_P(ConversionTest, KeepsTheValue) {
  EXPECT_THAT(Column(GetParam().tensor), ElementsAreArray(GetParam().want));
}

constexpr float kSmallestHalf = 5.9604644775390625e-8F;  // 2^-24

INSTANTIATE_TEST_SUITE_P(
    Every, ConversionTest,
    ::testing::Values(
        Conversion{"UInt8",
                   MakeTensor<std::uint8_t>("real", v1::DATA_TYPE_UINT8, {2},
                                            {0, 255}),
                   {0, 255}},
        Conversion{"Int32",
                   MakeTensor<std::int32_t>("real", v1::DATA_TYPE_INT32, {2},
                                            {-7, 1 << 24}),
                   {-7, 16777216}},
        Conversion{"Int64", Int64s("real", {1}, {-9}), {-9}},
        Conversion{"Float64",
                   MakeTensor<double>("real", v1::DATA_TYPE_FLOAT64, {2},
                                      {0.1, -1e-3}),
                   {0.1F, -1e-3F}},
        // 1, -2, 65504 (largest), 2^-24 (smallest), 2^-14 - 2^-24, -0
        Conversion{"Float16",
                   MakeTensor<std::uint16_t>("real", v1::DATA_TYPE_FLOAT16, {6},
                                             {0x3C00, 0xC000, 0x7BFF, 0x0001,
                                              0x03FF, 0x8000}),
                   {1, -2, 65504, kSmallestHalf, 1023 * kSmallestHalf, -0.0F}},
        Conversion{"BFloat16",
                   MakeTensor<std::uint16_t>("real", v1::DATA_TYPE_BFLOAT16,
                                             {3}, {0x3F80, 0xC040, 0x0000}),
                   {1, -3, 0}}),
    [](const auto& info) { return info.param.name; });

TEST(TensorColumn, KeepsNonFiniteHalves) {
  const std::vector<float> values = Column(MakeTensor<std::uint16_t>(
      "real", v1::DATA_TYPE_FLOAT16, {3}, {0x7C00, 0xFC00, 0x7E00}));

  EXPECT_EQ(values[0], std::numeric_limits<float>::infinity());
  EXPECT_EQ(values[1], -std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(values[2]));
}

TEST(TensorColumn, WidensIndices) {
  const FieldSpec field{"index", DType::kInt64, {}, 0, 9, true};
  const v1::Tensor tensor =
      MakeTensor<std::int32_t>("index", v1::DATA_TYPE_INT32, {3}, {5, -1, 9});

  const auto column = TensorColumn::Create(field, tensor);

  ASSERT_TRUE(column.ok());
  EXPECT_EQ(LoadInt64(column->Value(1)), -1);
  EXPECT_TRUE(column->CheckRange(0, NonFinite::kRefuse).ok());
  EXPECT_FALSE(column->CheckRange(1, NonFinite::kRefuse).ok());
}

TEST(TensorColumn, BoundsRealsToo) {
  const FieldSpec field{"unit", DType::kFloat32, {}, -1, 1, true};
  const v1::Tensor tensor = Floats("unit", {3}, {-1, 1, 1.5F});

  const auto column = TensorColumn::Create(field, tensor);

  ASSERT_TRUE(column.ok());
  EXPECT_TRUE(column->CheckRange(1, NonFinite::kRefuse).ok());
  EXPECT_FALSE(column->CheckRange(2, NonFinite::kRefuse).ok());
}

}  // namespace
}  // namespace stepd
