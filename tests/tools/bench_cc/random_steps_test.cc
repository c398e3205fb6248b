// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tools/bench_cc/random_steps.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "model/step.h"

namespace stepd::bench {
namespace {

std::vector<FieldSpec> Fields() {
  FieldSpec index{"index", DType::kInt64, {}, 2, 4};
  FieldSpec reals{"reals", DType::kFloat32, {3}, {}, {}};
  FieldSpec positive{"positive", DType::kFloat32, {2}, 0, {}};
  FieldSpec tokens{"tokens", DType::kInt64, {-1}, 0, 9};
  tokens.required = false;
  return {index, reals, positive, tokens};
}

TEST(RandomStepsTest, EveryStepIsAnEncodingWithValuesInRange) {
  const RandomSteps steps(Fields(), 100, 1);
  const StepLayout layout(steps.fields());
  std::set<std::int64_t> indices;
  std::vector<FieldValue> values(steps.fields().size());
  for (int i = 0; i < steps.size(); ++i) {
    const std::string step = steps.Encode(i);
    ASSERT_TRUE(layout.Decode(step, absl::MakeSpan(values)));
    indices.insert(LoadInt64(values[0]));
    ASSERT_EQ(values[1].count, 3);
    for (std::int64_t j = 0; j < 3; ++j) {
      EXPECT_GE(LoadFloat(values[1], j), -1.0F);
      EXPECT_LE(LoadFloat(values[1], j), 1.0F);
    }
    EXPECT_GE(LoadFloat(values[2], 0), 0.0F);
    EXPECT_GE(LoadFloat(values[2], 1), 0.0F);
    ASSERT_EQ(values[3].count, RandomSteps::kRaggedEntries);
    for (std::int64_t j = 0; j < values[3].count; ++j) {
      EXPECT_GE(LoadInt64(values[3], j), 0);
      EXPECT_LE(LoadInt64(values[3], j), 9);
    }
  }
  EXPECT_EQ(indices, (std::set<std::int64_t>{2, 3, 4}));
}

TEST(RandomStepsTest, SeedsDecideAndStepsDiffer) {
  const RandomSteps steps(Fields(), 8, 1);
  EXPECT_EQ(steps.Encode(3), RandomSteps(Fields(), 8, 1).Encode(3));
  EXPECT_NE(steps.Encode(3), RandomSteps(Fields(), 8, 2).Encode(3));
  EXPECT_NE(steps.Encode(3), steps.Encode(4));
  EXPECT_EQ(steps.Encode(3), steps.Encode(3 + 8));  // wraps around
}

}  // namespace
}  // namespace stepd::bench
