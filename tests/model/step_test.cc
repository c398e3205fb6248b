// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/step.h"

#include <random>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "gtest/gtest.h"

namespace stepd {
namespace {

FieldSpec Field(DType dtype, std::vector<std::int64_t> shape,
                bool required = true) {
  FieldSpec field;
  field.name = "f";
  field.dtype = dtype;
  field.shape = std::move(shape);
  field.required = required;
  return field;
}

template <typename T>
FieldValue Value(const std::vector<T>& elements) {
  return {reinterpret_cast<const char*>(elements.data()),
          static_cast<std::int64_t>(elements.size())};
}

std::string Encode(const StepLayout& layout,
                   const std::vector<FieldValue>& values) {
  std::string out;
  layout.Encode(values, &out);
  return out;
}

TEST(StepLayout, PacksFixedFieldsWithoutPadding) {
  const StepLayout layout(
      {Field(DType::kInt64, {}), Field(DType::kFloat32, {3})});
  const std::vector<std::int64_t> action = {-5};
  const std::vector<float> obs = {1.5F, -2.0F, 3.25F};

  const std::string step = Encode(layout, {Value(action), Value(obs)});

  EXPECT_EQ(layout.fixed_bytes(), 20);
  EXPECT_EQ(step.size(), 20U);
  std::vector<FieldValue> values(2);
  ASSERT_TRUE(layout.Decode(step, absl::MakeSpan(values)));
  EXPECT_EQ(LoadInt64(values[0]), -5);
  ASSERT_EQ(values[1].count, 3);
  for (std::int64_t i = 0; i < 3; ++i) {
    EXPECT_EQ(LoadFloat(values[1], i), obs[static_cast<std::size_t>(i)]);
  }
}

TEST(StepLayout, HasNoFixedSizeWithOptionalOrRaggedFields) {
  EXPECT_EQ(StepLayout({Field(DType::kInt64, {}, false)}).fixed_bytes(), -1);
  EXPECT_EQ(
      StepLayout({Field(DType::kFloat32, {-1, 2}), Field(DType::kInt64, {})})
          .fixed_bytes(),
      -1);
  EXPECT_EQ(StepLayout({}).fixed_bytes(), 0);
}

TEST(StepLayout, MarksOptionalFieldsAsPresentOrAbsent) {
  const StepLayout layout(
      {Field(DType::kInt64, {}, false), Field(DType::kFloat32, {2}, false)});
  const std::vector<float> obs = {7.0F, 8.0F};

  const std::string step = Encode(layout, {FieldValue{}, Value(obs)});

  EXPECT_EQ(step.size(), 1U + 1U + 8U);
  std::vector<FieldValue> values(2);
  ASSERT_TRUE(layout.Decode(step, absl::MakeSpan(values)));
  EXPECT_FALSE(values[0].is_present());
  EXPECT_TRUE(values[1].is_present());
  EXPECT_EQ(LoadFloat(values[1], 1), 8.0F);
}

TEST(StepLayout, CountsTheEntriesOfRaggedFields) {
  const StepLayout layout(
      {Field(DType::kFloat32, {-1, 2}), Field(DType::kInt64, {})});
  const std::vector<float> tokens = {1, 2, 3, 4, 5, 6};
  const std::vector<std::int64_t> last = {9};

  const std::string step = Encode(layout, {Value(tokens), Value(last)});

  EXPECT_EQ(step.size(), 4U + 24U + 8U);
  std::vector<FieldValue> values(2);
  ASSERT_TRUE(layout.Decode(step, absl::MakeSpan(values)));
  EXPECT_EQ(values[0].count, 6);
  EXPECT_EQ(LoadFloat(values[0], 5), 6.0F);
  EXPECT_EQ(LoadInt64(values[1]), 9);
}

TEST(StepLayout, ARaggedFieldOfNoEntriesIsPresent) {
  const StepLayout layout({Field(DType::kFloat32, {-1})});

  const std::string step = Encode(layout, {Value(std::vector<float>{})});

  EXPECT_EQ(step, std::string(4, '\0'));
  std::vector<FieldValue> values(1);
  ASSERT_TRUE(layout.Decode(step, absl::MakeSpan(values)));
  EXPECT_EQ(values[0].count, 0);
}

TEST(StepLayout, RefusesEveryTornOrLongerStep) {
  const StepLayout layout({Field(DType::kInt64, {}, false),
                           Field(DType::kFloat32, {-1, 2}),
                           Field(DType::kFloat32, {1})});
  const std::vector<std::int64_t> action = {3};
  const std::vector<float> tokens = {1, 2, 3, 4};
  const std::vector<float> reward = {0.5F};
  const std::string step =
      Encode(layout, {Value(action), Value(tokens), Value(reward)});
  std::vector<FieldValue> values(3);
  ASSERT_TRUE(layout.Decode(step, absl::MakeSpan(values)));

  for (std::size_t size = 0; size < step.size(); ++size) {
    // Of its own memory, so that a sanitizer sees a read past the end.
    const std::string torn = step.substr(0, size);
    EXPECT_FALSE(layout.Decode(torn, absl::MakeSpan(values))) << size;
  }
  EXPECT_FALSE(layout.Decode(step + "x", absl::MakeSpan(values)));
}

TEST(StepLayout, RefusesARaggedCountBeyondTheStep) {
  const StepLayout layout({Field(DType::kFloat32, {-1, 1000})});
  std::vector<FieldValue> values(1);

  EXPECT_FALSE(layout.Decode(std::string(4, '\xff'), absl::MakeSpan(values)));
}

TEST(StepLayout, ReadsNothingPastRandomBytes) {
  const StepLayout layout({Field(DType::kInt64, {}, false),
                           Field(DType::kFloat32, {-1, 3}, false),
                           Field(DType::kInt64, {2})});
  std::mt19937 random(7);
  for (int i = 0; i < 5000; ++i) {
    std::string bytes(random() % 60, '\0');
    for (char& c : bytes) c = static_cast<char>(random() % 4);
    std::vector<FieldValue> values(3);
    if (!layout.Decode(bytes, absl::MakeSpan(values))) continue;
    for (const FieldValue& value : values) {
      if (!value.is_present() || value.count == 0) continue;
      EXPECT_GE(value.data, bytes.data());
      EXPECT_LE(value.data + 4 * value.count, bytes.data() + bytes.size());
    }
  }
}

TEST(StepLayout, EncodesWhatItDecodes) {
  const StepLayout layout(
      {Field(DType::kInt64, {}), Field(DType::kFloat32, {-1}, false)});
  const std::vector<std::int64_t> action = {11};
  const std::vector<float> tokens = {1, 2, 3};
  const std::string step = Encode(layout, {Value(action), Value(tokens)});

  std::vector<FieldValue> values(2);
  ASSERT_TRUE(layout.Decode(step, absl::MakeSpan(values)));

  EXPECT_EQ(Encode(layout, values), step);
}

}  // namespace
}  // namespace stepd
