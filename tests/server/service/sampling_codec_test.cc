// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/service/sampling_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "proto/stepd/v1/policy_service.pb.h"
#include "server/common/error.h"
#include "server/service/step_codec.h"
#include "tests/fakes/fake_policy.h"
#include "tests/server/service/wire.h"

namespace stepd {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

FakePolicyOptions ThreeActions() {
  FakePolicyOptions options;
  options.num_actions = 3;
  return options;
}

v1::Tensor Mask(const std::vector<std::int64_t>& shape,
                const std::vector<char>& allowed,
                const std::vector<std::uint32_t>& lengths = {}) {
  v1::Tensor tensor;
  tensor.set_dtype(v1::DATA_TYPE_BOOL);
  for (const std::int64_t size : shape) tensor.add_shape(size);
  tensor.set_data(allowed.data(), allowed.size());
  for (const std::uint32_t length : lengths) tensor.add_lengths(length);
  return tensor;
}

class SamplingCodecTest : public ::testing::Test {
 protected:
  SamplingCodecTest() {
    step_.set_actor_id("a");
    *step_.add_inputs() = Int64s("x", {2}, {1, 2});
    batch_.add_actor_ids("a");
    batch_.add_actor_ids("b");
    *batch_.mutable_inputs() = step_.inputs();
  }

  const FakePolicy policy_{ThreeActions()};
  const StepCodec codec_{&policy_, {}};
  v1::StepRequest step_;        // of two steps
  v1::StepBatchRequest batch_;  // of two actors
};

TEST_F(SamplingCodecTest, ReadsEverySetting) {
  v1::Sampling* sampling = step_.mutable_sampling();
  sampling->set_temperature(0.5F);
  sampling->set_top_k(2);
  sampling->set_epsilon(0.25F);
  sampling->set_num_actions(3);
  sampling->set_seed(7);

  const absl::StatusOr<StepTask> task = codec_.DecodeStep(step_);

  ASSERT_TRUE(task.ok()) << task.status();
  EXPECT_EQ(task->sampling.temperature, 0.5F);
  EXPECT_EQ(task->sampling.top_k, 2);
  EXPECT_EQ(task->sampling.epsilon, 0.25F);
  EXPECT_EQ(task->sampling.num_actions, 3);
  EXPECT_EQ(task->sampling.seed, 7U);
  EXPECT_THAT(task->action_mask, IsEmpty());
}

TEST_F(SamplingCodecTest, MasksTheAnsweredSteps) {
  *step_.mutable_action_mask() = Mask({1, 3}, {1, 0, 1});
  absl::StatusOr<StepTask> task = codec_.DecodeStep(step_);
  ASSERT_TRUE(task.ok()) << task.status();
  EXPECT_THAT(task->action_mask, ElementsAre(1, 0, 1));

  step_.set_answered_steps(v1::ANSWERED_STEPS_ALL);
  *step_.mutable_action_mask() = Mask({2, 3}, {1, 0, 1, 0, 1, 0});
  task = codec_.DecodeStep(step_);
  ASSERT_TRUE(task.ok()) << task.status();
  EXPECT_THAT(task->action_mask, ElementsAre(1, 0, 1, 0, 1, 0));
}

TEST_F(SamplingCodecTest, GivesEveryRowOfABatchItsOwn) {
  batch_.mutable_sampling()->set_seed(7);
  v1::SamplingColumns* columns = batch_.mutable_sampling_columns();
  columns->add_temperatures(0);
  columns->add_temperatures(2);
  columns->add_epsilons(0.5F);
  columns->add_epsilons(0);
  columns->add_num_actions(0);
  columns->add_num_actions(2);
  columns->add_top_k(0);
  columns->add_top_k(1);
  *batch_.mutable_action_mask() = Mask({1, 3}, {1, 1, 0}, {0, 1});

  const auto tasks = codec_.DecodeStepBatch(batch_);

  ASSERT_TRUE(tasks.ok()) << tasks.status();
  const StepTask& first = *(*tasks)[0];
  const StepTask& second = *(*tasks)[1];
  EXPECT_EQ(first.sampling.temperature, 0.0F);
  EXPECT_EQ(second.sampling.temperature, 2.0F);
  EXPECT_EQ(first.sampling.epsilon, 0.5F);
  EXPECT_EQ(second.sampling.epsilon, 0.0F);
  EXPECT_EQ(first.sampling.num_actions, std::nullopt);
  EXPECT_EQ(second.sampling.num_actions, 2);
  EXPECT_EQ(first.sampling.top_k, std::nullopt);
  EXPECT_EQ(second.sampling.top_k, 1);
  EXPECT_EQ(first.sampling.seed, 7U);
  EXPECT_EQ(second.sampling.seed, 7U);
  EXPECT_THAT(first.action_mask, ElementsAre(1, 1, 1));
  EXPECT_THAT(second.action_mask, ElementsAre(1, 1, 0));
}

TEST_F(SamplingCodecTest, RefusesOnlyTheRowThatIsWrong) {
  v1::SamplingColumns* columns = batch_.mutable_sampling_columns();
  columns->add_epsilons(0);
  columns->add_epsilons(1.5F);
  auto tasks = codec_.DecodeStepBatch(batch_);
  ASSERT_TRUE(tasks.ok()) << tasks.status();
  EXPECT_TRUE((*tasks)[0].ok());
  EXPECT_EQ(ReasonOf((*tasks)[1].status()), reason::kSampling);
  EXPECT_EQ(MetadataOf((*tasks)[1].status()).back(),
            (std::pair<std::string, std::string>("row", "1")));

  batch_.clear_sampling_columns();
  *batch_.mutable_action_mask() = Mask({2, 3}, {0, 0, 0, 0, 1, 0});
  tasks = codec_.DecodeStepBatch(batch_);
  ASSERT_TRUE(tasks.ok()) << tasks.status();
  EXPECT_EQ((*tasks)[0].status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReasonOf((*tasks)[0].status()), reason::kSampling);
  EXPECT_EQ(MetadataOf((*tasks)[0].status()).back(),
            (std::pair<std::string, std::string>("row", "0")));
  EXPECT_TRUE((*tasks)[1].ok());
}

struct RefusedSampling {
  std::string name;
  std::function<void(v1::StepRequest*)> change;
  absl::string_view reason;
  std::string field;
};

class RefusedSamplingTest
    : public SamplingCodecTest,
      public ::testing::WithParamInterface<RefusedSampling> {};

TEST_P(RefusedSamplingTest, IsRefusedByName) {
  step_.set_answered_steps(v1::ANSWERED_STEPS_ALL);
  GetParam().change(&step_);

  const absl::Status status = codec_.DecodeStep(step_).status();

  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReasonOf(status), GetParam().reason);
  EXPECT_EQ(MetadataOf(status).front().second, GetParam().field);
}

using Request = v1::StepRequest;
INSTANTIATE_TEST_SUITE_P(
    Every, RefusedSamplingTest,
    ::testing::Values(
        RefusedSampling{
            "NegativeTopK",
            [](Request* r) { r->mutable_sampling()->set_top_k(-1); },
            reason::kSampling, "sampling.top_k"},
        RefusedSampling{
            "NegativeEpsilon",
            [](Request* r) { r->mutable_sampling()->set_epsilon(-0.1F); },
            reason::kSampling, "sampling.epsilon"},
        RefusedSampling{
            "EpsilonAboveOne",
            [](Request* r) { r->mutable_sampling()->set_epsilon(1.1F); },
            reason::kSampling, "sampling.epsilon"},
        RefusedSampling{
            "EpsilonOfNan",
            [](Request* r) { r->mutable_sampling()->set_epsilon(kNan); },
            reason::kSampling, "sampling.epsilon"},
        RefusedSampling{
            "NoActionInAStep",
            [](Request* r) {
              *r->mutable_action_mask() = Mask({2, 3}, {1, 1, 1, 0, 0, 0});
            },
            reason::kSampling, "action_mask"},
        RefusedSampling{
            "NoActionAmongTheFirst",
            [](Request* r) {
              r->mutable_sampling()->set_num_actions(2);
              *r->mutable_action_mask() = Mask({2, 3}, {1, 0, 0, 0, 0, 1});
            },
            reason::kSampling, "action_mask"},
        RefusedSampling{"TooFewRows",
                        [](Request* r) {
                          *r->mutable_action_mask() = Mask({1, 3}, {1, 1, 1});
                        },
                        reason::kFieldShape, "action_mask"},
        RefusedSampling{"TooManyActions",
                        [](Request* r) {
                          *r->mutable_action_mask() =
                              Mask({2, 4}, {1, 1, 1, 1, 1, 1, 1, 1});
                        },
                        reason::kFieldShape, "action_mask"},
        RefusedSampling{"NoBools",
                        [](Request* r) {
                          *r->mutable_action_mask() =
                              Int64s("", {2, 3}, {1, 1, 1, 1, 1, 1});
                        },
                        reason::kFieldType, "action_mask"}),
    [](const auto& info) { return info.param.name; });

TEST_F(SamplingCodecTest, RefusesColumnsOfAnotherLength) {
  batch_.mutable_sampling_columns()->add_seeds(1);

  const absl::Status status = codec_.DecodeStepBatch(batch_).status();

  EXPECT_EQ(ReasonOf(status), reason::kSampling);
  EXPECT_EQ(MetadataOf(status).front().second, "sampling_columns");
}

TEST(SamplingCodec, RefusesMasksWhereThereAreNoActions) {
  FakePolicyOptions options;
  options.num_actions = 0;
  const FakePolicy policy(options);
  const StepCodec codec(&policy, {});
  v1::StepRequest request;
  request.set_actor_id("a");
  *request.add_inputs() = Int64s("x", {1}, {1});
  ASSERT_TRUE(codec.DecodeStep(request).ok());

  *request.mutable_action_mask() = Mask({1, 0}, {});

  EXPECT_EQ(ReasonOf(codec.DecodeStep(request).status()), reason::kSampling);
}

TEST(SamplingCodec, OffersEntropyAndProbsOfPoliciesWithActions) {
  const FakePolicy policy(ThreeActions());
  const StepCodec codec(&policy, {});
  v1::DescribeResponse description;

  codec.DescribePolicy(&description);

  std::map<std::string, std::vector<std::int64_t>> shapes;
  for (const v1::Output& output : description.outputs()) {
    shapes[output.name()] = {output.shape().begin(), output.shape().end()};
  }
  EXPECT_THAT(shapes.at("entropy"), IsEmpty());
  EXPECT_THAT(shapes.at("probs"), ElementsAre(3));
}

}  // namespace
}  // namespace stepd
