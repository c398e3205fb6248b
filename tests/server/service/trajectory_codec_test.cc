// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/service/trajectory_codec.h"

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/stepd/v1/trajectory_service.pb.h"
#include "tests/server/service/wire.h"

namespace stepd {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

template <typename T>
FieldValue ValueOf(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()),
          static_cast<std::int64_t>(values.size())};
}

// A spec with one field of each kind.
PolicySpec SpecOfAllKinds() {
  PolicySpec spec;
  spec.fields = {FieldSpec{"plain", DType::kInt64, {}, {}, {}},
                 FieldSpec{"maybe", DType::kFloat32, {2}, {}, {}},
                 FieldSpec{"words", DType::kInt64, {-1, 2}, {}, {}},
                 FieldSpec{"never", DType::kBool, {}, {}, {}}};
  spec.fields[1].required = spec.fields[3].required = false;
  spec.session_fields = {FieldSpec{"map", DType::kFloat32, {2}, {}, {}}};
  spec.num_actions = 3;
  return spec;
}

class TrajectoryCodecTest : public testing::Test {
 protected:
  // Adds a step with this value of "plain"; other fields may be absent.
  FinishedStep* Add(std::int64_t plain, const std::vector<float>& maybe,
                    const std::vector<std::int64_t>& words) {
    auto step = std::make_shared<FinishedStep>();
    step->actor_id = "a";
    const std::vector<std::int64_t> plains = {plain};
    StepLayout(spec_.fields)
        .Encode({ValueOf(plains), maybe.empty() ? FieldValue{} : ValueOf(maybe),
                 ValueOf(words), FieldValue{}},
                &step->inputs);
    steps_.push_back(step);
    return step.get();
  }
  v1::StreamTrajectoriesResponse Encode() const {
    v1::StreamTrajectoriesResponse response;
    TrajectoryCodec(spec_).Encode(
        std::vector<std::shared_ptr<const FinishedStep>>(steps_.begin(),
                                                         steps_.end()),
        &response);
    return response;
  }

  PolicySpec spec_ = SpecOfAllKinds();
  std::vector<std::shared_ptr<FinishedStep>> steps_;
};

TEST_F(TrajectoryCodecTest, FieldsAreColumnsLikeThoseOfRequests) {
  Add(7, {1.5F, 2.5F}, {1, 2, 3, 4});
  Add(8, {}, {5, 6});

  const v1::StreamTrajectoriesResponse response = Encode();

  ASSERT_THAT(response.inputs(), SizeIs(3));
  EXPECT_EQ(response.inputs(0).SerializeAsString(),
            Int64s("plain", {2}, {7, 8}).SerializeAsString());
  EXPECT_EQ(response.inputs(1).SerializeAsString(),
            Floats("maybe", {1, 2}, {1.5F, 2.5F}, {1, 0}).SerializeAsString());
  EXPECT_EQ(
      response.inputs(2).SerializeAsString(),
      Int64s("words", {3, 2}, {1, 2, 3, 4, 5, 6}, {2, 1}).SerializeAsString());
}

TEST_F(TrajectoryCodecTest, OnlyOpeningStepsHaveSessionInputs) {
  Add(1, {}, {1, 2});
  EXPECT_THAT(Encode().session_inputs(), IsEmpty());
  const std::vector<float> map = {0.5F, 0.25F};
  StepLayout(spec_.session_fields)
      .Encode({ValueOf(map)}, &Add(2, {}, {3, 4})->session_inputs);

  const v1::StreamTrajectoriesResponse response = Encode();

  ASSERT_THAT(response.session_inputs(), SizeIs(1));
  EXPECT_EQ(response.session_inputs(0).SerializeAsString(),
            Floats("map", {1, 2}, map, {0, 1}).SerializeAsString());
}

TEST_F(TrajectoryCodecTest, EveryColumnHasAnEntryPerStep) {
  FinishedStep* step = Add(1, {}, {1, 2});
  step->epoch = 7;
  step->boundary = Boundary::kTask;
  step->model_version = 3;
  step = Add(2, {}, {1, 2});
  step->actor_id = "b";
  step->step_index = 9;
  step->is_answered = true;
  step->action = 2;
  step->log_prob = -0.5F;

  const v1::StreamTrajectoriesResponse response = Encode();

  EXPECT_THAT(response.actor_ids(), ElementsAre("a", "b"));
  EXPECT_THAT(response.epochs(), ElementsAre(7, 0));
  EXPECT_THAT(response.step_indices(), ElementsAre(0, 9));
  EXPECT_THAT(response.boundaries(),
              ElementsAre(v1::BOUNDARY_TASK, v1::BOUNDARY_NONE));
  EXPECT_THAT(response.answered(), ElementsAre(false, true));
  EXPECT_THAT(response.actions(), ElementsAre(0, 2));
  EXPECT_THAT(response.log_probs(), ElementsAre(0.0F, -0.5F));
  EXPECT_THAT(response.model_versions(), ElementsAre(3, 0));
}

TEST_F(TrajectoryCodecTest, APolicyWithoutActionsHasNoColumnsOfThem) {
  spec_.num_actions = 0;
  Add(1, {}, {1, 2})->is_answered = true;

  EXPECT_THAT(Encode().actions(), IsEmpty());
  EXPECT_THAT(Encode().log_probs(), IsEmpty());
  EXPECT_THAT(Encode().answered(), ElementsAre(true));
}

}  // namespace
}  // namespace stepd
