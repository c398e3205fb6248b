// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/service/step_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/step.h"
#include "proto/stepd/v1/policy_service.pb.h"
#include "server/common/error.h"
#include "tests/fakes/fake_policy.h"
#include "tests/server/service/wire.h"

namespace stepd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

FakePolicyOptions PolicyOptions() {
  FakePolicyOptions options;
  options.fields = {
      FieldSpec{"index", DType::kInt64, {}, 0, 9, true},
      FieldSpec{"real", DType::kFloat32, {2}, {}, {}, true},
      FieldSpec{"maybe", DType::kFloat32, {}, {}, {}, false},
      FieldSpec{"many", DType::kInt64, {-1}, 0, 99, true},
  };
  return options;
}

StepCodecOptions SmallLimits() {
  StepCodecOptions options;
  options.max_steps_per_call = 3;
  options.max_actors_per_batch = 3;
  return options;
}

// Two good steps.
v1::StepRequest GoodRequest() {
  v1::StepRequest request;
  request.set_actor_id("actor");
  *request.add_inputs() = Int64s("index", {2}, {3, 4});
  *request.add_inputs() = Floats("real", {2, 2}, {1, 2, 3, 4});
  *request.add_inputs() = Floats("maybe", {1}, {7}, {0, 1});
  *request.add_inputs() = Int64s("many", {3}, {10, 11, 12}, {1, 2});
  return request;
}

v1::StepBatchRequest GoodBatch() {
  const v1::StepRequest step = GoodRequest();
  v1::StepBatchRequest request;
  request.add_actor_ids("a");
  request.add_actor_ids("b");
  *request.mutable_inputs() = step.inputs();
  return request;
}

// Values of one decoded step, as doubles; "absent" has none.
std::map<std::string, std::vector<double>> Decoded(const PolicySpec& spec,
                                                   absl::string_view step) {
  std::vector<FieldValue> values(spec.fields.size());
  EXPECT_TRUE(StepLayout(spec.fields).Decode(step, absl::MakeSpan(values)));
  std::map<std::string, std::vector<double>> decoded;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!values[i].is_present()) continue;
    std::vector<double>& out = decoded[spec.fields[i].name];
    for (std::int64_t k = 0; k < values[i].count; ++k) {
      out.push_back(spec.fields[i].dtype == DType::kInt64
                        ? static_cast<double>(LoadInt64(values[i], k))
                        : LoadFloat(values[i], k));
    }
  }
  return decoded;
}

std::map<std::string, std::string> Metadata(const absl::Status& status) {
  std::map<std::string, std::string> metadata;
  for (const auto& [key, value] : MetadataOf(status)) metadata[key] = value;
  return metadata;
}

class StepCodecTest : public ::testing::Test {
 protected:
  const FakePolicy policy_{PolicyOptions()};
  const StepCodec codec_{&policy_, SmallLimits()};
};

TEST_F(StepCodecTest, EncodesEveryStepOfACall) {
  v1::StepRequest request = GoodRequest();
  request.add_outputs("hidden");
  request.mutable_sampling()->set_temperature(0.5F);
  request.mutable_sampling()->set_num_actions(2);
  request.mutable_sampling()->set_seed(17);
  request.set_answered_steps(v1::ANSWERED_STEPS_ALL);
  request.set_ephemeral(true);

  const absl::StatusOr<StepTask> task = codec_.DecodeStep(request);

  ASSERT_TRUE(task.ok()) << task.status();
  EXPECT_EQ(task->actor_id, "actor");
  EXPECT_EQ(task->outputs, OutputMask{0b10});
  EXPECT_EQ(task->sampling.temperature, 0.5F);
  EXPECT_EQ(task->sampling.num_actions, 2);
  EXPECT_EQ(task->sampling.seed, 17U);
  EXPECT_TRUE(task->answer_all_steps);
  EXPECT_TRUE(task->is_ephemeral);
  EXPECT_THAT(task->num_tokens, ElementsAre(1, 1));
  ASSERT_EQ(task->steps.size(), 2U);
  const auto first = Decoded(policy_.spec(), task->steps[0]);
  EXPECT_THAT(first.at("index"), ElementsAre(3));
  EXPECT_THAT(first.at("real"), ElementsAre(1, 2));
  EXPECT_EQ(first.count("maybe"), 0U);
  EXPECT_THAT(first.at("many"), ElementsAre(10));
  const auto second = Decoded(policy_.spec(), task->steps[1]);
  EXPECT_THAT(second.at("maybe"), ElementsAre(7));
  EXPECT_THAT(second.at("many"), ElementsAre(11, 12));
}

TEST_F(StepCodecTest, TakesTheBestActionOfTheLastStepByDefault) {
  const absl::StatusOr<StepTask> task = codec_.DecodeStep(GoodRequest());

  ASSERT_TRUE(task.ok()) << task.status();
  EXPECT_EQ(task->sampling.temperature, 0.0F);
  EXPECT_EQ(task->sampling.num_actions, std::nullopt);
  EXPECT_FALSE(task->answer_all_steps);
  EXPECT_FALSE(task->is_ephemeral);
  EXPECT_EQ(task->outputs, OutputMask{0});
}

TEST_F(StepCodecTest, ReadsWhatBecomesOfTheSessionWhenTheWeightsChange) {
  v1::StepRequest step = GoodRequest();
  EXPECT_EQ(codec_.DecodeStep(step)->version.kv_policy, std::nullopt);
  step.set_kv_policy(v1::KV_POLICY_KEEP);
  EXPECT_EQ(codec_.DecodeStep(step)->version.kv_policy, KvPolicy::kKeep);
  v1::StepBatchRequest batch = GoodBatch();
  batch.set_kv_policy(v1::KV_POLICY_RECOMPUTE);
  const auto tasks = codec_.DecodeStepBatch(batch);
  EXPECT_EQ((*tasks)[1]->version.kv_policy, KvPolicy::kRecompute);

  step.set_kv_policy(static_cast<v1::KvPolicy>(9));
  const absl::Status status = codec_.DecodeStep(step).status();
  EXPECT_EQ(ReasonOf(status), reason::kFieldRange);
  EXPECT_EQ(Metadata(status).at("field"), "kv_policy");
}

TEST_F(StepCodecTest, AnswersNothingIfNothingIsWanted) {
  v1::StepRequest request = GoodRequest();
  EXPECT_FALSE(codec_.DecodeStep(request)->answers_nothing);
  request.set_answered_steps(v1::ANSWERED_STEPS_NONE);
  const absl::StatusOr<StepTask> task = codec_.DecodeStep(request);
  ASSERT_TRUE(task.ok()) << task.status();
  EXPECT_TRUE(task->answers_nothing);
  EXPECT_FALSE(task->answer_all_steps);
}

TEST_F(StepCodecTest, LeavesOutAnOptionalTensor) {
  v1::StepRequest request = GoodRequest();
  request.mutable_inputs()->DeleteSubrange(2, 1);

  const absl::StatusOr<StepTask> task = codec_.DecodeStep(request);

  ASSERT_TRUE(task.ok()) << task.status();
  EXPECT_EQ(Decoded(policy_.spec(), task->steps[1]).count("maybe"), 0U);
}

TEST_F(StepCodecTest, TakesOneEntryEachWithoutLengths) {
  v1::StepRequest request = GoodRequest();
  *request.mutable_inputs(2) = Floats("maybe", {2}, {5, 6});
  *request.mutable_inputs(3) = Int64s("many", {2}, {8, 9});

  const absl::StatusOr<StepTask> task = codec_.DecodeStep(request);

  ASSERT_TRUE(task.ok()) << task.status();
  const auto second = Decoded(policy_.spec(), task->steps[1]);
  EXPECT_THAT(second.at("maybe"), ElementsAre(6));
  EXPECT_THAT(second.at("many"), ElementsAre(9));
}

TEST_F(StepCodecTest, TakesAnEmptyRaggedEntry) {
  v1::StepRequest request = GoodRequest();
  *request.mutable_inputs(3) = Int64s("many", {0}, {}, {0, 0});

  const absl::StatusOr<StepTask> task = codec_.DecodeStep(request);

  ASSERT_TRUE(task.ok()) << task.status();
  EXPECT_THAT(Decoded(policy_.spec(), task->steps[0]).at("many"), IsEmpty());
}

TEST(StepCodec, AsksThePolicyForTokensThatVary) {
  FakePolicyOptions options;
  options.max_tokens_per_step = 4;
  const FakePolicy policy(options);
  const StepCodec codec(&policy, {});
  v1::StepRequest request;
  request.set_actor_id("a");
  *request.add_inputs() = Int64s("x", {3}, {1, 2, 3});

  const absl::StatusOr<StepTask> task = codec.DecodeStep(request);

  ASSERT_TRUE(task.ok()) << task.status();
  EXPECT_THAT(task->num_tokens,
              ElementsAre(CountFakeTokens(options, EncodeFakeStep(1)),
                          CountFakeTokens(options, EncodeFakeStep(2)),
                          CountFakeTokens(options, EncodeFakeStep(3))));
}

// Typed tokens: two ragged fields of one length; no actions.
FakePolicyOptions TypedTokens() {
  FakePolicyOptions options;
  FieldSpec tokens;
  tokens.name = "tokens";
  tokens.shape = {-1, 2};
  FieldSpec types;
  types.name = "types";
  types.dtype = DType::kInt64;
  types.shape = {-1};
  types.min = 0;
  types.max = 1;
  types.value_names = {"obs", "reward"};
  types.same_length_as = "tokens";
  options.fields = {tokens, types};
  options.num_actions = 0;
  return options;
}

v1::StepBatchRequest TypedTokensBatch() {
  v1::StepBatchRequest request;
  request.add_actor_ids("a");
  request.add_actor_ids("b");
  *request.add_inputs() = Floats("tokens", {3, 2}, {1, 2, 3, 4, 5, 6}, {1, 2});
  *request.add_inputs() = Int64s("types", {3}, {1, 0, 1}, {1, 2});
  return request;
}

TEST(StepCodec, TakesRaggedFieldsOfOneLength) {
  const FakePolicy policy(TypedTokens());
  const StepCodec codec(&policy, {});

  const auto tasks = codec.DecodeStepBatch(TypedTokensBatch());

  ASSERT_TRUE(tasks.ok()) << tasks.status();
  ASSERT_TRUE((*tasks)[1].ok()) << (*tasks)[1].status();
  const auto decoded = Decoded(policy.spec(), (*tasks)[1]->steps[0]);
  EXPECT_THAT(decoded.at("tokens"), ElementsAre(3, 4, 5, 6));
  EXPECT_THAT(decoded.at("types"), ElementsAre(0, 1));
}

TEST(StepCodec, RefusesTheRowWhoseRaggedFieldsDifferInLength) {
  const FakePolicy policy(TypedTokens());
  const StepCodec codec(&policy, {});
  v1::StepBatchRequest request = TypedTokensBatch();
  *request.mutable_inputs(1) = Int64s("types", {2}, {1, 0}, {1, 1});

  const auto tasks = codec.DecodeStepBatch(request);

  ASSERT_TRUE(tasks.ok()) << tasks.status();
  EXPECT_TRUE((*tasks)[0].ok());
  EXPECT_EQ(ReasonOf((*tasks)[1].status()), reason::kFieldShape);
  EXPECT_THAT(std::string((*tasks)[1].status().message()),
              HasSubstr("types: got 1 entries in row 1, want 2, as many as "
                        "\"tokens\" has"));
}

TEST(StepCodec, RefusesSamplingWhereThereAreNoActions) {
  const FakePolicy policy(TypedTokens());
  const StepCodec codec(&policy, {});
  const auto error_of = [&](const v1::Sampling& sampling) {
    v1::StepBatchRequest request = TypedTokensBatch();
    *request.mutable_sampling() = sampling;
    const absl::Status status = codec.DecodeStepBatch(request).status();
    EXPECT_EQ(ReasonOf(status), reason::kSampling);
    return std::string(status.message());
  };
  v1::Sampling temperature;
  temperature.set_temperature(0.5F);
  v1::Sampling num_actions;
  num_actions.set_num_actions(1);
  v1::Sampling seed;
  seed.set_seed(7);

  EXPECT_THAT(error_of(temperature),
              HasSubstr("sampling.temperature: got 0.5"));
  EXPECT_THAT(error_of(num_actions), HasSubstr("sampling.num_actions: got 1"));
  EXPECT_THAT(error_of(seed), HasSubstr("the policy has no actions"));
}

TEST(StepCodec, AnswersWithOutputsAloneWhereThereAreNoActions) {
  const FakePolicy policy(TypedTokens());
  const StepCodec codec(&policy, {});
  StepReply reply;
  reply.num_answered = 2;
  reply.step_index = 5;
  reply.outputs = {{0.5F, 1.5F}, {}};
  v1::StepResponse step;
  v1::StepBatchResponse batch;

  codec.EncodeStep(reply, &step);
  reply.num_answered = 1;
  reply.outputs = {{2.5F}, {}};
  codec.StartStepBatch(2, /*outputs=*/1, &batch);
  codec.EncodeRow(reply, 1, &batch);

  EXPECT_EQ(step.actions_size(), 0);
  EXPECT_EQ(step.log_probs_size(), 0);
  EXPECT_EQ(step.outputs(0).shape(0), 2);
  EXPECT_EQ(step.step_index(), 5U);
  EXPECT_EQ(batch.actions_size(), 0);
  EXPECT_EQ(batch.step_indices(1), 5U);
  EXPECT_EQ(batch.outputs(0).shape(0), 2);
}

TEST(StepCodec, DescribesNamedValuesAndStepsOfAnyLength) {
  FakePolicyOptions options = TypedTokens();
  options.max_tokens_per_step = -1;
  const FakePolicy policy(options);
  const StepCodec codec(&policy, {});
  v1::DescribeResponse response;

  codec.DescribePolicy(&response);

  EXPECT_THAT(response.fields(1).value_names(), ElementsAre("obs", "reward"));
  EXPECT_EQ(response.fields(1).same_length_as(), "tokens");
  EXPECT_EQ(response.num_actions(), 0U);
  EXPECT_EQ(response.max_tokens_per_step(), 0U);
}

TEST(StepCodec, PassesNanWhereTheConfigurationSaysSo) {
  const FakePolicy policy(PolicyOptions());
  StepCodecOptions options;
  options.non_finite = NonFinite::kPass;
  const StepCodec codec(&policy, options);
  v1::StepRequest request = GoodRequest();
  *request.mutable_inputs(1) = Floats("real", {2, 2}, {kNan, 1, 2, kInfinity});

  EXPECT_TRUE(codec.DecodeStep(request).ok());
}

// ---- Every way to refuse a Step ---------------------------------------------

struct RefusedStep {
  std::string name;
  std::function<void(v1::StepRequest*)> spoil;
  absl::string_view reason;
  std::string field;
  std::string got;
  std::string want;
};

class RefusedStepTest : public StepCodecTest,
                        public ::testing::WithParamInterface<RefusedStep> {};

TEST_P(RefusedStepTest, NamesFieldGotAndWant) {
  v1::StepRequest request = GoodRequest();
  GetParam().spoil(&request);

  const absl::Status status = codec_.DecodeStep(request).status();

  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_EQ(ReasonOf(status), GetParam().reason) << status;
  const auto metadata = Metadata(status);
  ASSERT_TRUE(metadata.count("field") && metadata.count("got") &&
              metadata.count("want"));
  EXPECT_EQ(metadata.at("field"), GetParam().field);
  EXPECT_THAT(metadata.at("got"), HasSubstr(GetParam().got));
  EXPECT_THAT(metadata.at("want"), HasSubstr(GetParam().want));
}

// Replaces input `i`.
std::function<void(v1::StepRequest*)> Input(int i, v1::Tensor tensor) {
  return [i, tensor](v1::StepRequest* r) { *r->mutable_inputs(i) = tensor; };
}

v1::Tensor OverflowingTensor() {
  // 2^61 rows of 8 bytes are 2^64 bytes: 0 when nobody looks.
  return Int64s("index", {std::int64_t{1} << 61}, {});
}

const std::vector<RefusedStep>& RefusedSteps() {
  static const auto* const cases = new std::vector<RefusedStep>{
      {"NoActor", [](v1::StepRequest* r) { r->clear_actor_id(); },
       reason::kActorId, "actor_id", "0 bytes", "1 to 256 bytes"},
      {"LongActor",
       [](v1::StepRequest* r) { r->set_actor_id(std::string(257, 'x')); },
       reason::kActorId, "actor_id", "257 bytes", "1 to 256 bytes"},
      {"UnknownField", Input(0, Int64s("indx", {2}, {1, 2})),
       reason::kFieldUnknown, "indx", "this name", "index, real, maybe, many"},
      {"LongUnknownField", Input(0, Int64s(std::string(63, 'x') + "\u00e9", {1}, {1})),
       reason::kFieldUnknown, std::string(63, 'x') + "...", "this name",
       "one of"},
      {"MissingField",
       [](v1::StepRequest* r) { r->mutable_inputs()->DeleteSubrange(1, 1); },
       reason::kFieldMissing, "real", "nothing", "a tensor"},
      {"NoInputs", [](v1::StepRequest* r) { r->clear_inputs(); },
       reason::kFieldMissing, "index", "nothing", "a tensor"},
      {"FloatForIndex", Input(0, Floats("index", {2}, {1, 2})),
       reason::kFieldType, "index", "float32", "int64 or int32"},
      {"BoolForIndex",
       Input(0, MakeTensor<char>("index", v1::DATA_TYPE_BOOL, {2}, {1, 0})),
       reason::kFieldType, "index", "bool", "int64 or int32"},
      {"BoolForReal",
       Input(1, MakeTensor<char>("real", v1::DATA_TYPE_BOOL, {2, 2},
                                 {1, 0, 1, 0})),
       reason::kFieldType, "real", "bool", "real number"},
      {"NoDtype",
       Input(0, MakeTensor<char>("index", v1::DATA_TYPE_UNSPECIFIED, {2}, {})),
       reason::kFieldType, "index", "data type 0", "int64"},
      {"DtypeOfTheFuture",
       Input(0, MakeTensor<char>("index", static_cast<v1::DataType>(99), {2},
                                 {})),
       reason::kFieldType, "index", "data type 99", "int64"},
      {"NoLeadingSize", Input(0, Int64s("index", {}, {1})), reason::kFieldShape,
       "index", "[]", "[N]"},
      {"EndlessShape", Input(0, Int64s("index", std::vector<std::int64_t>(9999, 1), {1})),
       reason::kFieldShape, "index", "[1, 1, 1, 1, 1, 1, 1, 1, ...]", "[N]"},
      {"NegativeSize", Input(0, Int64s("index", {-2}, {})), reason::kFieldShape,
       "index", "[-2]", "[N]"},
      {"ExtraAxis", Input(0, Int64s("index", {2, 1}, {1, 2})),
       reason::kFieldShape, "index", "[2, 1]", "[N]"},
      {"WrongWidth", Input(1, Floats("real", {2, 3}, {1, 2, 3, 4, 5, 6})),
       reason::kFieldShape, "real", "[2, 3]", "[N, 2]"},
      {"TooFewBytes", Input(0, Int64s("index", {2}, {1})), reason::kFieldShape,
       "index", "8 bytes", "int64[2]"},
      {"TooManyBytes", Input(0, Int64s("index", {2}, {1, 2, 3})),
       reason::kFieldShape, "index", "24 bytes", "int64[2]"},
      {"OverflowingSize", Input(0, OverflowingTensor()), reason::kFieldShape,
       "index", "0 bytes", "int64"},
      {"GivenTwice",
       [](v1::StepRequest* r) { *r->add_inputs() = r->inputs(0); },
       reason::kFieldShape, "index", "two tensors", "one"},
      {"RowsDisagree", Input(1, Floats("real", {1, 2}, {1, 2})),
       reason::kFieldShape, "real", "1 rows", "2 rows"},
      {"LengthsOfAFixedField", Input(0, Int64s("index", {2}, {1, 2}, {1, 1})),
       reason::kFieldShape, "index", "lengths", "none"},
      {"OptionalTwice", Input(2, Floats("maybe", {2}, {1, 2}, {2, 0})),
       reason::kFieldShape, "maybe", "a length of 2", "0 or 1"},
      {"LengthsDoNotAddUp", Input(3, Int64s("many", {3}, {1, 2, 3}, {1, 1})),
       reason::kFieldShape, "many", "2 in all", "the leading size, 3"},
      {"LengthsOverflow",
       Input(3, Int64s("many", {0}, {}, {0xFFFFFFFFU, 0xFFFFFFFFU, 2})),
       reason::kFieldShape, "many", "8589934592 in all", "0"},
      {"NoStep",
       [](v1::StepRequest* r) {
         r->clear_inputs();
         *r->add_inputs() = Int64s("index", {0}, {});
         *r->add_inputs() = Floats("real", {0, 2}, {});
         *r->add_inputs() = Int64s("many", {0}, {});
       },
       reason::kFieldShape, "inputs", "no step", "at least one"},
      {"TooManySteps",
       [](v1::StepRequest* r) {
         r->clear_inputs();
         *r->add_inputs() = Int64s("index", {4}, {1, 2, 3, 4});
         *r->add_inputs() = Floats("real", {4, 2}, {1, 2, 3, 4, 5, 6, 7, 8});
         *r->add_inputs() = Int64s("many", {4}, {1, 2, 3, 4});
       },
       reason::kLimit, "inputs", "4 steps", "at most 3"},
      {"IndexTooLarge", Input(0, Int64s("index", {2}, {1, 10})),
       reason::kFieldRange, "index", "10", "0 to 9"},
      {"IndexNegative", Input(0, Int64s("index", {2}, {-1, 1})),
       reason::kFieldRange, "index", "-1", "0 to 9"},
      {"RaggedIndexTooLarge",
       Input(3, Int64s("many", {3}, {1, 2, 100}, {1, 2})), reason::kFieldRange,
       "many", "100", "0 to 99"},
      {"Nan", Input(1, Floats("real", {2, 2}, {1, 2, kNan, 4})),
       reason::kFieldRange, "real", "nan", "finite"},
      {"Infinity", Input(1, Floats("real", {2, 2}, {1, 2, 3, -kInfinity})),
       reason::kFieldRange, "real", "-inf", "finite"},
      {"DoubleBeyondFloat",
       Input(1, MakeTensor<double>("real", v1::DATA_TYPE_FLOAT64, {2, 2},
                                   {1, 2, 3, 1e300})),
       reason::kFieldRange, "real", "inf", "finite"},
      {"UnknownOutput",
       [](v1::StepRequest* r) { r->add_outputs("hiden"); },
       reason::kOutputUnknown, "outputs", "hiden", "value, hidden"},
      {"NegativeTemperature",
       [](v1::StepRequest* r) { r->mutable_sampling()->set_temperature(-1); },
       reason::kSampling, "sampling.temperature", "-1", ">= 0"},
      {"NanTemperature",
       [](v1::StepRequest* r) { r->mutable_sampling()->set_temperature(kNan); },
       reason::kSampling, "sampling.temperature", "nan", ">= 0"},
      {"NoActions",
       [](v1::StepRequest* r) { r->mutable_sampling()->set_num_actions(0); },
       reason::kSampling, "sampling.num_actions", "0", "1 to 5"},
      {"TooManyActions",
       [](v1::StepRequest* r) { r->mutable_sampling()->set_num_actions(6); },
       reason::kSampling, "sampling.num_actions", "6", "1 to 5"},
  };
  return *cases;
}

INSTANTIATE_TEST_SUITE_P(Every, RefusedStepTest,
                         ::testing::ValuesIn(RefusedSteps()),
                         [](const auto& info) { return info.param.name; });

TEST_F(StepCodecTest, NamesTheRowOfAValueOutOfRange) {
  v1::StepRequest request = GoodRequest();
  *request.mutable_inputs(0) = Int64s("index", {2}, {1, 10});

  const absl::Status status = codec_.DecodeStep(request).status();

  EXPECT_EQ(Metadata(status).at("row"), "1");
}

TEST(StepCodec, BoundsWhatAnErrorLists) {
  FakePolicyOptions options;
  for (int i = 0; i < 100; ++i) {
    options.fields.push_back(FieldSpec{absl::StrCat("a_rather_long_name_", i),
                                       DType::kInt64,
                                       {},
                                       {},
                                       {},
                                       false});
  }
  const FakePolicy policy(options);
  const StepCodec codec(&policy, {});
  v1::StepRequest request;
  request.set_actor_id("a");
  *request.add_inputs() = Int64s("y", {1}, {1});

  const absl::Status status = codec.DecodeStep(request).status();

  EXPECT_EQ(ReasonOf(status), reason::kFieldUnknown);
  EXPECT_LT(status.message().size(), 700U);
}

// ---- Batches ----------------------------------------------------------------

TEST_F(StepCodecTest, MakesOneTaskPerRow) {
  const auto tasks = codec_.DecodeStepBatch(GoodBatch());

  ASSERT_TRUE(tasks.ok()) << tasks.status();
  ASSERT_THAT(*tasks, SizeIs(2));
  ASSERT_TRUE((*tasks)[1].ok());
  const StepTask& task = *(*tasks)[1];
  EXPECT_EQ(task.actor_id, "b");
  ASSERT_EQ(task.steps.size(), 1U);
  EXPECT_THAT(Decoded(policy_.spec(), task.steps[0]).at("many"),
              ElementsAre(11, 12));
}

TEST_F(StepCodecTest, EndsTheSessionsOfAnEphemeralBatch) {
  v1::StepBatchRequest request = GoodBatch();
  request.set_ephemeral(true);

  const auto tasks = codec_.DecodeStepBatch(request);

  ASSERT_TRUE(tasks.ok()) << tasks.status();
  for (const auto& task : *tasks) {
    ASSERT_TRUE(task.ok()) << task.status();
    EXPECT_TRUE(task->is_ephemeral);
  }
}

TEST_F(StepCodecTest, RefusesOnlyTheRowThatIsOutOfRange) {
  v1::StepBatchRequest request = GoodBatch();
  *request.mutable_inputs(0) = Int64s("index", {2}, {10, 1});

  const auto tasks = codec_.DecodeStepBatch(request);

  ASSERT_TRUE(tasks.ok()) << tasks.status();
  EXPECT_EQ(ReasonOf((*tasks)[0].status()), reason::kFieldRange);
  EXPECT_TRUE((*tasks)[1].ok());
}

struct RefusedBatch {
  std::string name;
  std::function<void(v1::StepBatchRequest*)> spoil;
  absl::string_view reason;
};

class RefusedBatchTest : public StepCodecTest,
                         public ::testing::WithParamInterface<RefusedBatch> {};

TEST_P(RefusedBatchTest, IsRefusedAsAWhole) {
  v1::StepBatchRequest request = GoodBatch();
  GetParam().spoil(&request);

  const absl::Status status = codec_.DecodeStepBatch(request).status();

  EXPECT_EQ(ReasonOf(status), GetParam().reason) << status;
}

using B = v1::StepBatchRequest;
INSTANTIATE_TEST_SUITE_P(
    Every, RefusedBatchTest,
    ::testing::Values(
        RefusedBatch{"NoActor", [](B* r) { r->clear_actor_ids(); },
                     reason::kActorId},
        RefusedBatch{"EmptyActor", [](B* r) { r->set_actor_ids(1, ""); },
                     reason::kActorId},
        RefusedBatch{"RepeatedActor", [](B* r) { r->set_actor_ids(1, "a"); },
                     reason::kActorId},
        RefusedBatch{"MoreActorsThanRows", [](B* r) { r->add_actor_ids("c"); },
                     reason::kFieldShape},
        RefusedBatch{"TooManyActors",
                     [](B* r) {
                       r->add_actor_ids("c");
                       r->add_actor_ids("d");
                     },
                     reason::kLimit},
        RefusedBatch{"UnknownOutput", [](B* r) { r->add_outputs("q"); },
                     reason::kOutputUnknown},
        RefusedBatch{"BadSampling",
                     [](B* r) { r->mutable_sampling()->set_num_actions(9); },
                     reason::kSampling},
        RefusedBatch{"UnknownField",
                     [](B* r) { r->mutable_inputs(0)->set_name("y"); },
                     reason::kFieldUnknown}),
    [](const auto& info) { return info.param.name; });

// ---- Replies ----------------------------------------------------------------

TEST_F(StepCodecTest, EncodesAReply) {
  StepReply reply;
  reply.num_answered = 2;
  reply.actions = {3, 1};
  reply.log_probs = {-0.5F, -1.5F};
  reply.outputs = {{}, {1, 2, 3, 4}};
  reply.step_index = 12;
  v1::StepResponse response;

  codec_.EncodeStep(reply, &response);

  EXPECT_THAT(response.actions(), ElementsAre(3, 1));
  EXPECT_THAT(response.log_probs(), ElementsAre(-0.5F, -1.5F));
  EXPECT_EQ(response.step_index(), 12U);
  ASSERT_EQ(response.outputs_size(), 1);
  EXPECT_EQ(response.outputs(0).name(), "hidden");
  EXPECT_EQ(response.outputs(0).dtype(), v1::DATA_TYPE_FLOAT32);
  EXPECT_THAT(response.outputs(0).shape(), ElementsAre(2, 2));
  EXPECT_THAT(FloatsOf(response.outputs(0)), ElementsAre(1, 2, 3, 4));
}

TEST_F(StepCodecTest, PutsEachReplyIntoItsRow) {
  StepReply reply;
  reply.num_answered = 1;
  reply.actions = {4};
  reply.log_probs = {-2};
  reply.outputs = {{9}, {5, 6}};
  reply.step_index = 3;
  v1::StepBatchResponse response;

  codec_.StartStepBatch(3, OutputMask{0b11}, &response);
  codec_.EncodeRow(reply, 1, &response);

  EXPECT_THAT(response.actions(), ElementsAre(0, 4, 0));
  EXPECT_THAT(response.log_probs(), ElementsAre(0, -2, 0));
  EXPECT_THAT(response.step_indices(), ElementsAre(0, 3, 0));
  ASSERT_EQ(response.outputs_size(), 2);
  EXPECT_THAT(response.outputs(0).shape(), ElementsAre(3));
  EXPECT_THAT(FloatsOf(response.outputs(0)), ElementsAre(0, 9, 0));
  EXPECT_THAT(response.outputs(1).shape(), ElementsAre(3, 2));
  EXPECT_THAT(FloatsOf(response.outputs(1)), ElementsAre(0, 0, 5, 6, 0, 0));
}

TEST_F(StepCodecTest, DescribesThePolicy) {
  v1::DescribeResponse response;

  codec_.DescribePolicy(&response);

  ASSERT_EQ(response.fields_size(), 4);
  EXPECT_EQ(response.fields(0).name(), "index");
  EXPECT_EQ(response.fields(0).dtype(), v1::DATA_TYPE_INT64);
  EXPECT_EQ(response.fields(0).min(), 0);
  EXPECT_EQ(response.fields(0).max(), 9);
  EXPECT_FALSE(response.fields(1).has_min());
  EXPECT_THAT(response.fields(1).shape(), ElementsAre(2));
  EXPECT_FALSE(response.fields(2).required());
  EXPECT_THAT(response.fields(3).shape(), ElementsAre(-1));
  EXPECT_EQ(response.outputs_size(), 4);  // with entropy and probs
  EXPECT_EQ(response.num_actions(), 5U);
}

}  // namespace
}  // namespace stepd
