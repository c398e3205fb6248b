// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tools/bench_cc/wire_steps.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace stepd::bench {
namespace {

TEST(WireStepsTest, FieldsAreWhatTheServerDescribes) {
  v1::DescribeResponse response;
  v1::Field* index = response.add_fields();
  index->set_name("index");
  index->set_dtype(v1::DATA_TYPE_INT64);
  index->set_min(0);
  index->set_max(5);
  index->set_required(true);
  v1::Field* reals = response.add_fields();
  reals->set_name("reals");
  reals->set_dtype(v1::DATA_TYPE_FLOAT32);
  reals->add_shape(-1);
  reals->add_shape(2);

  const auto fields = FieldsOf(response);
  ASSERT_TRUE(fields.ok()) << fields.status();
  ASSERT_EQ(fields->size(), 2U);
  EXPECT_EQ((*fields)[0].name, "index");
  EXPECT_EQ((*fields)[0].dtype, DType::kInt64);
  EXPECT_TRUE((*fields)[0].required);
  EXPECT_EQ((*fields)[0].min, 0);
  EXPECT_EQ((*fields)[0].max, 5);
  EXPECT_EQ((*fields)[1].dtype, DType::kFloat32);
  EXPECT_EQ((*fields)[1].shape, (std::vector<std::int64_t>{-1, 2}));
  EXPECT_FALSE((*fields)[1].min.has_value());
  EXPECT_FALSE((*fields)[1].required);
}

TEST(WireStepsTest, AFieldOfAnotherDtypeIsNamed) {
  v1::DescribeResponse response;
  response.add_fields()->set_name("odd");
  const auto fields = FieldsOf(response);
  EXPECT_EQ(fields.status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_NE(fields.status().message().find("odd"), absl::string_view::npos);
}

TEST(WireStepsTest, RowsAreOverwritten) {
  FieldSpec reals{"reals", DType::kFloat32, {3}, {}, {}};
  FieldSpec tokens{"tokens", DType::kInt64, {-1, 2}, 0, 9};
  const RandomSteps steps({reals, tokens}, 16, 1);
  v1::StepRequest request;
  Tensors* inputs = request.mutable_inputs();
  StartInputs(steps, 2, inputs);
  SetRows(steps, {1, 2}, inputs);
  SetRows(steps, {7, 5}, inputs);

  ASSERT_EQ(inputs->size(), 2);
  EXPECT_EQ(inputs->at(0).name(), "reals");
  EXPECT_EQ(inputs->at(0).dtype(), v1::DATA_TYPE_FLOAT32);
  EXPECT_EQ(inputs->at(0).shape(0), 2);
  EXPECT_EQ(inputs->at(0).shape(1), 3);
  EXPECT_EQ(inputs->at(0).lengths_size(), 0);
  EXPECT_EQ(inputs->at(0).data(),
            std::string(steps.Value(7, 0)) + std::string(steps.Value(5, 0)));
  EXPECT_EQ(inputs->at(1).dtype(), v1::DATA_TYPE_INT64);
  EXPECT_EQ(inputs->at(1).shape_size(), 2);
  EXPECT_EQ(inputs->at(1).shape(0), 2 * RandomSteps::kRaggedEntries);
  EXPECT_EQ(inputs->at(1).shape(1), 2);
  ASSERT_EQ(inputs->at(1).lengths_size(), 2);
  EXPECT_EQ(inputs->at(1).lengths(1), RandomSteps::kRaggedEntries);
  EXPECT_EQ(inputs->at(1).data().size(), inputs->at(1).shape(0) * 2 * 8);
}

}  // namespace
}  // namespace stepd::bench
