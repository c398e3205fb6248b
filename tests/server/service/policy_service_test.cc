// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/service/policy_service.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <limits>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "server/common/error.h"
#include "server/service/status_codec.h"
#include "tests/server/service/served_engine.h"

namespace stepd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// A call that runs on a thread of its own.
struct StepCall {
  grpc::ClientContext context;
  v1::StepRequest request;
  v1::StepResponse response;
  std::future<grpc::Status> status;

  void Start(ServedEngine* served) {
    status = std::async(std::launch::async, [this, served] {
      return served->stub().Step(&context, request, &response);
    });
  }
  absl::Status Wait() { return FromGrpcStatus(status.get()); }
};

TEST(PolicyService, AnswersAStep) {
  PolicyServiceOptions options;
  ServedEngine served(options);
  StepCall call;
  call.request = FakeRequest("alice", 42);
  call.request.add_outputs("hidden");

  call.Start(&served);
  StepTask task = served.engine().TakeStep();
  StepReply reply = FakeReply(3, 9);
  reply.outputs = {{}, {1.5F, 2.5F}};
  task.done(reply);

  ASSERT_TRUE(call.Wait().ok());
  EXPECT_EQ(task.actor_id, "alice");
  EXPECT_EQ(task.steps[0], EncodeFakeStep(42));
  EXPECT_THAT(call.response.actions(), ElementsAre(3));
  EXPECT_THAT(call.response.log_probs(), ElementsAre(-0.5F));
  EXPECT_EQ(call.response.step_index(), 9U);
  EXPECT_EQ(call.response.model_version(), 7U);
  EXPECT_EQ(call.response.context_version_min(), 5U);
  EXPECT_EQ(call.response.context_version_max(), 7U);
  EXPECT_THAT(FloatsOf(call.response.outputs(0)), ElementsAre(1.5F, 2.5F));
}

TEST(PolicyService, RefusesABadStepWithoutTheEngine) {
  ServedEngine served;
  served.engine().Refuse(absl::InternalError("must not be asked"));
  StepCall call;
  call.request = FakeRequest("alice", 42);
  call.request.mutable_inputs(0)->set_name("y");

  call.Start(&served);
  const absl::Status status = call.Wait();

  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReasonOf(status), reason::kFieldUnknown);
  EXPECT_THAT(served.observer().records().errors, ElementsAre("FIELD_UNKNOWN"));
}

TEST(PolicyService, PassesOnWhenToComeBack) {
  ServedEngine served;
  served.engine().Refuse(RetryableError(absl::StatusCode::kResourceExhausted,
                                        reason::kOverloaded, "full",
                                        absl::Milliseconds(20)));
  StepCall call;
  call.request = FakeRequest("alice", 42);

  call.Start(&served);
  const absl::Status status = call.Wait();

  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(status), reason::kOverloaded);
  EXPECT_EQ(RetryAfterOf(status), absl::Milliseconds(20));
  EXPECT_THAT(served.observer().records().errors, ElementsAre("OVERLOADED"));
}

TEST(PolicyService, PassesOnAnErrorOfTheEngine) {
  ServedEngine served;
  StepCall call;
  call.request = FakeRequest("alice", 42);

  call.Start(&served);
  served.engine().TakeStep().done(Error(absl::StatusCode::kFailedPrecondition,
                                        reason::kContextFull, "full",
                                        {{"max_steps", "4"}}));
  const absl::Status status = call.Wait();

  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(status), reason::kContextFull);
  // The engine has counted it already.
  EXPECT_THAT(served.observer().records().errors, IsEmpty());
}

TEST(PolicyService, HidesAFailureOfOursBehindAnId) {
  ServedEngine served;
  StepCall call;
  call.request = FakeRequest("alice", 42);

  call.Start(&served);
  served.engine().TakeStep().done(absl::InternalError("secret detail"));
  const absl::Status status = call.Wait();

  EXPECT_EQ(ReasonOf(status), reason::kInternal);
  EXPECT_THAT(std::string(status.message()), Not(HasSubstr("secret")));
  ASSERT_EQ(MetadataOf(status).size(), 1U);
  EXPECT_EQ(MetadataOf(status)[0].first, "error_id");
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(MetadataOf(status)[0].second));
}

TEST(PolicyService, HandsTheDeadlineToTheEngine) {
  ServedEngine served;
  StepCall with;
  with.request = FakeRequest("alice", 1);
  with.context.set_deadline(std::chrono::system_clock::now() +
                            std::chrono::hours(1));
  StepCall without;
  without.request = FakeRequest("alice", 2);

  const MonotonicTime before = Clock::Real()->Now();
  with.Start(&served);
  StepTask first = served.engine().TakeStep();
  without.Start(&served);
  StepTask second = served.engine().TakeStep();
  first.done(FakeReply(0, 1));
  second.done(FakeReply(0, 2));

  EXPECT_TRUE(with.Wait().ok());
  EXPECT_TRUE(without.Wait().ok());
  EXPECT_GT(first.deadline, before + std::chrono::minutes(59));
  EXPECT_LT(first.deadline, before + std::chrono::minutes(61));
  EXPECT_EQ(second.deadline, kInfiniteFuture);
}

TEST(PolicyService, TellsTheEngineOfACancelledCall) {
  ServedEngine served;
  StepCall call;
  call.request = FakeRequest("alice", 42);

  call.Start(&served);
  StepTask task = served.engine().TakeStep();
  EXPECT_FALSE(task.is_cancelled->load());
  call.context.TryCancel();
  while (!task.is_cancelled->load()) std::this_thread::yield();
  task.done(
      Error(absl::StatusCode::kCancelled, reason::kCancelled, "cancelled"));

  EXPECT_EQ(call.Wait().code(), absl::StatusCode::kCancelled);
}

TEST(PolicyService, RefusesAMessageThatIsTooLarge) {
  ServedEngine served;
  StepCall call;
  call.request = FakeRequest(std::string((1 << 20) + 1, 'x'), 42);

  call.Start(&served);

  EXPECT_EQ(call.Wait().code(), absl::StatusCode::kResourceExhausted);
}

TEST(PolicyService, WaitsForOpenCallsWhenItDrains) {
  ServedEngine served;
  StepCall call;
  call.request = FakeRequest("alice", 42);

  call.Start(&served);
  StepTask task = served.engine().TakeStep();
  EXPECT_FALSE(served.service().Drain(absl::ZeroDuration()));
  task.done(FakeReply(0, 1));

  EXPECT_TRUE(served.service().Drain(absl::InfiniteDuration()));
  EXPECT_TRUE(call.Wait().ok());
}

// ---- StepBatch --------------------------------------------------------------

v1::StepBatchRequest FakeBatch(int num_rows) {
  v1::StepBatchRequest request;
  std::vector<std::int64_t> xs;
  for (int row = 0; row < num_rows; ++row) {
    request.add_actor_ids(absl::StrCat("actor", row));
    xs.push_back(row);
  }
  *request.add_inputs() = Int64s("x", {num_rows}, xs);
  return request;
}

FakePolicyOptions BoundedPolicy() {
  FakePolicyOptions options;
  options.fields[0].max = 2;
  return options;
}

TEST(PolicyService, AnswersEachRowOfABatch) {
  ServedEngine served({}, BoundedPolicy());
  grpc::ClientContext context;
  v1::StepBatchRequest request = FakeBatch(4);  // row 3 is out of range
  request.add_outputs("value");
  v1::StepBatchResponse response;

  auto call = std::async(std::launch::async, [&] {
    return served.stub().StepBatch(&context, request, &response);
  });
  StepTask row0 = served.engine().TakeStep();
  StepTask row1 = served.engine().TakeStep();
  StepTask row2 = served.engine().TakeStep();
  StepReply reply = FakeReply(4, 11);
  reply.outputs = {{2.5F}, {}};
  row2.done(reply);
  row1.done(Error(absl::StatusCode::kFailedPrecondition, reason::kContextFull,
                  "full"));
  reply.actions = {1};
  row0.done(reply);

  ASSERT_TRUE(call.get().ok());
  EXPECT_THAT(response.actions(), ElementsAre(1, 0, 4, 0));
  EXPECT_THAT(response.step_indices(), ElementsAre(11, 0, 11, 0));
  EXPECT_THAT(FloatsOf(response.outputs(0)), ElementsAre(2.5F, 0, 2.5F, 0));
  EXPECT_EQ(response.model_version(), 7U);
  EXPECT_EQ(response.model_versions(0), 7U);
  EXPECT_EQ(response.context_versions_min(0), 5U);
  EXPECT_EQ(response.context_versions_max(0), 7U);
  ASSERT_EQ(response.errors_size(), 2);
  EXPECT_EQ(response.errors(0).row(), 1U);
  EXPECT_EQ(ReasonOf(DecodeStatus(response.errors(0).status())),
            reason::kContextFull);
  EXPECT_EQ(response.errors(1).row(), 3U);
  EXPECT_EQ(ReasonOf(DecodeStatus(response.errors(1).status())),
            reason::kFieldRange);
}

TEST(PolicyService, EndsABatchWhoseRowsEndOnManyThreads) {
  constexpr int kRows = 64;
  ServedEngine served;
  grpc::ClientContext context;
  const v1::StepBatchRequest request = FakeBatch(kRows);
  v1::StepBatchResponse response;

  auto call = std::async(std::launch::async, [&] {
    return served.stub().StepBatch(&context, request, &response);
  });
  std::vector<std::thread> executors;
  for (int i = 0; i < 4; ++i) {
    executors.emplace_back([&] {
      for (int k = 0; k < kRows / 4; ++k) {
        StepTask task = served.engine().TakeStep();
        const std::int64_t row = std::stoll(task.actor_id.substr(5));
        task.done(FakeReply(row, 1));
      }
    });
  }
  for (std::thread& executor : executors) executor.join();

  ASSERT_TRUE(call.get().ok());
  for (int row = 0; row < kRows; ++row) EXPECT_EQ(response.actions(row), row);
}

TEST(PolicyService, FailsTheRowsOfABatchThatTheEngineRefuses) {
  ServedEngine served;
  served.engine().Refuse(RetryableError(absl::StatusCode::kUnavailable,
                                        reason::kDraining, "draining",
                                        absl::Seconds(1)));
  grpc::ClientContext context;
  v1::StepBatchResponse response;

  const grpc::Status status =
      served.stub().StepBatch(&context, FakeBatch(2), &response);

  ASSERT_TRUE(status.ok());
  ASSERT_EQ(response.errors_size(), 2);
  EXPECT_EQ(ReasonOf(DecodeStatus(response.errors(0).status())),
            reason::kDraining);
}

TEST(PolicyService, RefusesABadBatchAsAWhole) {
  ServedEngine served;
  grpc::ClientContext context;
  v1::StepBatchRequest request = FakeBatch(2);
  request.set_actor_ids(1, request.actor_ids(0));
  v1::StepBatchResponse response;

  const absl::Status status =
      FromGrpcStatus(served.stub().StepBatch(&context, request, &response));

  EXPECT_EQ(ReasonOf(status), reason::kActorId);
}

// ---- Reset, Describe --------------------------------------------------------

TEST(PolicyService, ResetsAnActor) {
  ServedEngine served;
  grpc::ClientContext context;
  v1::ResetRequest request;
  request.set_actor_id("alice");
  v1::ResetResponse response;

  auto call = std::async(std::launch::async, [&] {
    return served.stub().Reset(&context, request, &response);
  });
  ResetTask task = served.engine().TakeReset();
  task.done(absl::OkStatus());

  EXPECT_TRUE(call.get().ok());
  EXPECT_EQ(task.actor_id, "alice");
}

TEST(PolicyService, RefusesAResetOfNobody) {
  ServedEngine served;
  grpc::ClientContext context;
  v1::ResetResponse response;

  const absl::Status status =
      FromGrpcStatus(served.stub().Reset(&context, {}, &response));

  EXPECT_EQ(ReasonOf(status), reason::kActorId);
}

TEST(PolicyService, DescribesPolicyAndLimits) {
  PolicyServiceOptions options;
  options.codec.max_steps_per_call = 11;
  options.codec.max_actors_per_batch = 12;
  options.max_message_bytes = 13;
  options.max_sessions = 14;
  options.max_steps_per_session = 15;
  options.server_version = "1.2.3";
  ServedEngine served(options);
  grpc::ClientContext context;
  v1::DescribeResponse response;

  ASSERT_TRUE(served.stub().Describe(&context, {}, &response).ok());

  EXPECT_EQ(response.fields(0).name(), "x");
  EXPECT_EQ(response.limits().max_steps_per_call(), 11U);
  EXPECT_EQ(response.limits().max_actors_per_batch(), 12U);
  EXPECT_EQ(response.limits().max_message_bytes(), 13U);
  EXPECT_EQ(response.limits().max_sessions(), 14U);
  EXPECT_EQ(response.limits().max_steps_per_session(), 15U);
  EXPECT_EQ(response.model_version(), 16U);
  EXPECT_EQ(response.server_version(), "1.2.3");
}

}  // namespace
}  // namespace stepd
