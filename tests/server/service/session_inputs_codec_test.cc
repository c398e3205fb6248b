// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Session inputs on the wire: which rows give them, and what is refused.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "model/step.h"
#include "proto/stepd/v1/policy_service.pb.h"
#include "server/common/error.h"
#include "server/service/step_codec.h"
#include "tests/fakes/fake_policy.h"
#include "tests/server/service/wire.h"

namespace stepd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

FakePolicyOptions PolicyOptions() {
  FakePolicyOptions options;
  options.session_fields = {
      FieldSpec{"image", DType::kFloat32, {2, 2}, {}, {}, true},
      FieldSpec{"mask", DType::kBool, {2}, {}, {}, false},
      FieldSpec{"words", DType::kInt64, {-1}, 0, 9, false},
  };
  options.num_prefix_tokens = 2;
  return options;
}

v1::Tensor Bools(const std::string& name,
                 const std::vector<std::int64_t>& shape,
                 const std::vector<std::uint8_t>& values,
                 const std::vector<std::uint32_t>& lengths = {}) {
  return MakeTensor(name, v1::DATA_TYPE_BOOL, shape, values, lengths);
}

v1::StepRequest OpeningRequest() {
  v1::StepRequest request;
  request.set_actor_id("a");
  *request.add_inputs() = Int64s("x", {2}, {7, 8});
  *request.add_session_inputs() = Floats("image", {1, 2, 2}, {1, 2, 3, 4});
  *request.add_session_inputs() = Bools("mask", {1, 2}, {0, 1});
  *request.add_session_inputs() = Int64s("words", {3}, {4, 5, 6}, {3});
  return request;
}

// Actors a, b, c, of which the first and the last open a session.
v1::StepBatchRequest Batch() {
  v1::StepBatchRequest request;
  for (const char* actor : {"a", "b", "c"}) request.add_actor_ids(actor);
  *request.add_inputs() = Int64s("x", {3}, {7, 8, 9});
  *request.add_session_inputs() =
      Floats("image", {2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8}, {1, 0, 1});
  return request;
}

class SessionInputsCodecTest : public ::testing::Test {
 protected:
  std::vector<FieldValue> Decoded(const std::string& session_inputs) const {
    std::vector<FieldValue> values(3);
    EXPECT_TRUE(StepLayout(policy_.spec().session_fields)
                    .Decode(session_inputs, absl::MakeSpan(values)));
    return values;
  }

  const FakePolicy policy_{PolicyOptions()};
  const StepCodec codec_{&policy_, {}};
};

TEST_F(SessionInputsCodecTest, AStepGivesThemOnceWhateverItsLength) {
  const absl::StatusOr<StepTask> task = codec_.DecodeStep(OpeningRequest());

  ASSERT_TRUE(task.ok()) << task.status();
  const std::vector<FieldValue> values = Decoded(task->session_inputs);
  EXPECT_EQ(LoadFloat(values[0], 3), 4.0F);
  EXPECT_FALSE(LoadBool(values[1], 0));
  EXPECT_TRUE(LoadBool(values[1], 1));
  EXPECT_EQ(values[2].count, 3);
  EXPECT_EQ(LoadInt64(values[2], 2), 6);
}

TEST_F(SessionInputsCodecTest, AStepWithoutThemIsNotRefusedHere) {
  v1::StepRequest request = OpeningRequest();
  request.clear_session_inputs();

  const absl::StatusOr<StepTask> task = codec_.DecodeStep(request);

  ASSERT_TRUE(task.ok()) << task.status();
  EXPECT_THAT(task->session_inputs, IsEmpty());
}

TEST_F(SessionInputsCodecTest, RowsOfABatchThatOpenASessionGiveThem) {
  const auto tasks = codec_.DecodeStepBatch(Batch());

  ASSERT_TRUE(tasks.ok()) << tasks.status();
  EXPECT_EQ(LoadFloat(Decoded((*tasks)[0]->session_inputs)[0], 0), 1.0F);
  EXPECT_THAT((*tasks)[1]->session_inputs, IsEmpty());
  EXPECT_EQ(LoadFloat(Decoded((*tasks)[2]->session_inputs)[0], 0), 5.0F);
}

TEST_F(SessionInputsCodecTest, WithoutLengthsEveryRowOfABatchGivesThem) {
  v1::StepBatchRequest request = Batch();
  *request.mutable_session_inputs(0) =
      Floats("image", {3, 2, 2}, std::vector<float>(12, 1.0F));

  const auto tasks = codec_.DecodeStepBatch(request);

  ASSERT_TRUE(tasks.ok()) << tasks.status();
  for (const auto& task : *tasks) EXPECT_FALSE(task->session_inputs.empty());
}

TEST_F(SessionInputsCodecTest, ARowThatLacksARequiredOneIsRefusedAlone) {
  v1::StepBatchRequest request = Batch();
  *request.add_session_inputs() = Bools("mask", {1, 2}, {1, 1}, {0, 1, 0});

  const auto tasks = codec_.DecodeStepBatch(request);

  ASSERT_TRUE(tasks.ok()) << tasks.status();
  EXPECT_TRUE((*tasks)[0].ok());
  EXPECT_EQ(ReasonOf((*tasks)[1].status()), reason::kFieldMissing);
  EXPECT_TRUE((*tasks)[2].ok());
}

TEST_F(SessionInputsCodecTest, ABatchOfOtherLengthIsRefused) {
  v1::StepBatchRequest request = Batch();
  *request.mutable_session_inputs(0) =
      Floats("image", {1, 2, 2}, {1, 2, 3, 4}, {1, 0});

  const absl::Status status = codec_.DecodeStepBatch(request).status();

  EXPECT_EQ(ReasonOf(status), reason::kFieldShape);
}

TEST_F(SessionInputsCodecTest, WhatThePolicyRefusesIsRefused) {
  FakePolicyOptions options;
  options.session_fields = {FieldSpec{"image", DType::kInt64, {}, {}, {}}};
  const FakePolicy policy(options);
  const StepCodec codec(&policy, {});
  v1::StepRequest request = OpeningRequest();
  request.clear_session_inputs();
  *request.add_session_inputs() = Int64s("image", {1}, {kBadInput});

  const absl::Status status = codec.DecodeStep(request).status();

  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReasonOf(status), reason::kFieldRange);
  EXPECT_THAT(std::string(status.message()), HasSubstr("a bad input"));
}

TEST_F(SessionInputsCodecTest, DescribesThem) {
  v1::DescribeResponse response;

  codec_.DescribePolicy(&response);

  ASSERT_EQ(response.session_inputs_size(), 3);
  EXPECT_EQ(response.session_inputs(0).name(), "image");
  EXPECT_TRUE(response.session_inputs(0).required());
  EXPECT_EQ(response.session_inputs(1).dtype(), v1::DATA_TYPE_BOOL);
  EXPECT_FALSE(response.session_inputs(1).required());
  EXPECT_THAT(response.session_inputs(2).shape(), ElementsAre(-1));
  EXPECT_EQ(response.num_prefix_tokens(), 2U);
}

struct RefusedInput {
  std::string name;
  std::function<void(v1::StepRequest*)> spoil;
  absl::string_view reason;
  std::string field;
};

class RefusedInputTest : public SessionInputsCodecTest,
                         public ::testing::WithParamInterface<RefusedInput> {};

TEST_P(RefusedInputTest, RefusesTheCallNamingTheField) {
  v1::StepRequest request = OpeningRequest();
  GetParam().spoil(&request);

  const absl::Status status = codec_.DecodeStep(request).status();

  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReasonOf(status), GetParam().reason);
  EXPECT_THAT(MetadataOf(status), ::testing::Contains(::testing::Pair(
                                      "field", HasSubstr(GetParam().field))));
}

std::function<void(v1::StepRequest*)> Input(int index, v1::Tensor tensor) {
  return [index, tensor = std::move(tensor)](v1::StepRequest* request) {
    *request->mutable_session_inputs(index) = tensor;
  };
}

INSTANTIATE_TEST_SUITE_P(Every, RefusedInputTest,
                         ::testing::Values(
                             RefusedInput{"Unknown",
                                          Input(0, Floats("imago", {1}, {1})),
                                          reason::kFieldUnknown, "imago"},
                             RefusedInput{"OfAStep",
                                          Input(1, Int64s("x", {1}, {1})),
                                          reason::kFieldUnknown, "x"},
                             RefusedInput{"Twice",
                                          Input(1, Floats("image", {1, 2, 2},
                                                          {1, 2, 3, 4})),
                                          reason::kFieldShape, "image"},
                             RefusedInput{"ShapeWithoutLeadingOne",
                                          Input(0, Floats("image", {2, 2},
                                                          {1, 2, 3, 4})),
                                          reason::kFieldShape, "image"},
                             RefusedInput{"TwoRows",
                                          [](v1::StepRequest* request) {
                                            request->clear_session_inputs();
                                            *request->add_session_inputs() =
                                                Floats("image", {2, 2, 2},
                                                       std::vector<float>(
                                                           8, 1.0F));
                                          },
                                          reason::kFieldShape,
                                          "session_inputs"},
                             RefusedInput{
                                 "RowsThatDiffer",
                                 Input(1, Bools("mask", {2, 2}, {1, 1, 1, 1})),
                                 reason::kFieldShape, "mask"},
                             RefusedInput{
                                 "NumbersForBools",
                                 Input(1, Int64s("mask", {1, 2}, {1, 1})),
                                 reason::kFieldType, "mask"},
                             RefusedInput{"BoolsForNumbers",
                                          Input(0, Bools("image", {1, 2, 2},
                                                         {1, 1, 1, 1})),
                                          reason::kFieldType, "image"},
                             RefusedInput{
                                 "Nan",
                                 Input(0, Floats("image", {1, 2, 2},
                                                 {1, 2, 3,
                                                  std::numeric_limits<
                                                      float>::quiet_NaN()})),
                                 reason::kFieldRange, "image"},
                             RefusedInput{
                                 "OutOfRange",
                                 Input(2, Int64s("words", {1}, {10}, {1})),
                                 reason::kFieldRange, "words"},
                             RefusedInput{"RequiredMissing",
                                          [](v1::StepRequest* request) {
                                            request->mutable_session_inputs()
                                                ->DeleteSubrange(0, 1);
                                          },
                                          reason::kFieldMissing, "image"}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace stepd
