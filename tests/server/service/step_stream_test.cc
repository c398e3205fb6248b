// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/service/step_stream.h"

#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
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

v1::StepStreamRequest StreamStep(std::uint64_t id, const std::string& actor) {
  v1::StepStreamRequest request;
  request.set_request_id(id);
  *request.mutable_step() = FakeRequest(actor, static_cast<std::int64_t>(id));
  return request;
}

class StepStreamTest : public ::testing::Test {
 protected:
  void Open(const PolicyServiceOptions& options = {}) {
    served_ = std::make_unique<ServedEngine>(options);
    stream_ = served_->stub().StepStream(&context_);
  }
  FakeEngine& engine() { return served_->engine(); }
  v1::StepStreamResponse Read() {
    v1::StepStreamResponse response;
    EXPECT_TRUE(stream_->Read(&response));
    return response;
  }
  absl::Status Finish() { return FromGrpcStatus(stream_->Finish()); }

  std::unique_ptr<ServedEngine> served_;
  grpc::ClientContext context_;
  std::unique_ptr<
      grpc::ClientReaderWriter<v1::StepStreamRequest, v1::StepStreamResponse>>
      stream_;
};

TEST_F(StepStreamTest, AnswersInTheOrderInWhichAnswersAreReady) {
  Open();
  stream_->Write(StreamStep(5, "a"));
  stream_->Write(StreamStep(6, "b"));
  StepTask first = engine().TakeStep();
  StepTask second = engine().TakeStep();

  second.done(FakeReply(2, 1));
  const v1::StepStreamResponse early = Read();
  first.done(FakeReply(1, 1));
  const v1::StepStreamResponse late = Read();
  stream_->WritesDone();

  EXPECT_TRUE(Finish().ok());
  EXPECT_EQ(first.actor_id, "a");
  EXPECT_EQ(early.request_id(), 6U);
  EXPECT_THAT(early.step().actions(), ElementsAre(2));
  EXPECT_EQ(late.request_id(), 5U);
  EXPECT_THAT(late.step().actions(), ElementsAre(1));
}

TEST_F(StepStreamTest, GoesOnAfterAnError) {
  Open();
  stream_->Write(StreamStep(1, ""));
  const v1::StepStreamResponse refused = Read();
  stream_->Write(v1::StepStreamRequest());
  const v1::StepStreamResponse empty = Read();
  stream_->Write(StreamStep(2, "a"));
  engine().TakeStep().done(FakeReply(4, 1));
  const v1::StepStreamResponse answered = Read();
  stream_->WritesDone();

  EXPECT_TRUE(Finish().ok());
  EXPECT_EQ(refused.request_id(), 1U);
  EXPECT_EQ(ReasonOf(DecodeStatus(refused.error())), reason::kActorId);
  EXPECT_EQ(ReasonOf(DecodeStatus(empty.error())), reason::kFieldMissing);
  EXPECT_THAT(answered.step().actions(), ElementsAre(4));
}

TEST_F(StepStreamTest, CarriesBatchesAndResets) {
  Open();
  v1::StepStreamRequest batch;
  batch.set_request_id(1);
  batch.mutable_step_batch()->add_actor_ids("a");
  *batch.mutable_step_batch()->add_inputs() = Int64s("x", {1}, {3});
  stream_->Write(batch);
  engine().TakeStep().done(FakeReply(3, 1));
  const v1::StepStreamResponse stepped = Read();
  v1::StepStreamRequest reset;
  reset.set_request_id(2);
  reset.mutable_reset()->set_actor_id("a");
  stream_->Write(reset);
  engine().TakeReset().done(absl::OkStatus());
  const v1::StepStreamResponse was_reset = Read();
  stream_->WritesDone();

  EXPECT_TRUE(Finish().ok());
  EXPECT_THAT(stepped.step_batch().actions(), ElementsAre(3));
  EXPECT_TRUE(was_reset.has_reset());
}

TEST_F(StepStreamTest, AnswersWhatIsInFlightAfterTheLastWrite) {
  Open();
  stream_->Write(StreamStep(1, "a"));
  stream_->WritesDone();

  engine().TakeStep().done(FakeReply(1, 1));

  EXPECT_EQ(Read().request_id(), 1U);
  EXPECT_TRUE(Finish().ok());
}

TEST_F(StepStreamTest, ReadsNoMoreThanItsBound) {
  constexpr int kRequests = 64;
  PolicyServiceOptions options;
  options.max_in_flight_per_stream = 3;
  Open(options);

  std::thread writer([this] {
    for (int i = 0; i < kRequests; ++i) {
      stream_->Write(StreamStep(static_cast<std::uint64_t>(i), "a"));
    }
    stream_->WritesDone();
  });
  for (int i = 0; i < kRequests; ++i) {
    engine().TakeStep().done(FakeReply(i, 1));
    EXPECT_EQ(Read().request_id(), static_cast<std::uint64_t>(i));
  }
  writer.join();

  EXPECT_TRUE(Finish().ok());
  EXPECT_LE(engine().max_queued(), 3U);
}

TEST_F(StepStreamTest, WritesManyAnswersThatBecomeReadyTogether) {
  constexpr int kRequests = 100;
  Open();
  for (int i = 0; i < kRequests; ++i) {
    stream_->Write(StreamStep(static_cast<std::uint64_t>(i), "a"));
  }
  for (int i = 0; i < kRequests; ++i) {
    engine().TakeStep().done(FakeReply(i, 1));
  }

  for (int i = 0; i < kRequests; ++i) {
    EXPECT_THAT(Read().step().actions(), ElementsAre(i));
  }
  stream_->WritesDone();
  EXPECT_TRUE(Finish().ok());
}

TEST_F(StepStreamTest, TakesSeveralRequestsInOneMessage) {
  constexpr int kRequests = 20;
  Open();
  v1::StepStreamRequest message;
  for (int i = 0; i < kRequests; ++i) {
    *message.mutable_several()->add_requests() =
        StreamStep(static_cast<std::uint64_t>(i), "a");
  }
  stream_->Write(message);
  for (int i = 0; i < kRequests; ++i) {
    engine().TakeStep().done(FakeReply(i, 1));
  }

  std::vector<std::uint64_t> answered;
  while (answered.size() < kRequests) {
    const v1::StepStreamResponse response = Read();
    if (!response.has_several()) {
      answered.push_back(response.request_id());
      continue;
    }
    for (const auto& one : response.several().responses()) {
      EXPECT_THAT(one.step().actions(),
                  ElementsAre(static_cast<std::int64_t>(one.request_id())));
      answered.push_back(one.request_id());
    }
  }
  stream_->WritesDone();

  EXPECT_TRUE(Finish().ok());
  for (std::size_t i = 0; i < kRequests; ++i) EXPECT_EQ(answered[i], i);
}

TEST_F(StepStreamTest, RefusesOnlyWhatIsWrongAmongSeveral) {
  Open();
  v1::StepStreamRequest message;
  *message.mutable_several()->add_requests() = StreamStep(1, "");
  v1::StepStreamRequest* nested = message.mutable_several()->add_requests();
  nested->set_request_id(2);
  *nested->mutable_several()->add_requests() = StreamStep(3, "b");
  *message.mutable_several()->add_requests() = StreamStep(4, "a");
  stream_->Write(message);
  engine().TakeStep().done(FakeReply(7, 1));
  stream_->WritesDone();

  std::map<std::uint64_t, v1::StepStreamResponse> answers;
  v1::StepStreamResponse response;
  while (stream_->Read(&response)) {
    if (!response.has_several()) answers[response.request_id()] = response;
    for (const auto& one : response.several().responses()) {
      answers[one.request_id()] = one;
    }
  }

  EXPECT_TRUE(Finish().ok());
  EXPECT_EQ(ReasonOf(DecodeStatus(answers[1].error())), reason::kActorId);
  EXPECT_EQ(ReasonOf(DecodeStatus(answers[2].error())), reason::kFieldMissing);
  EXPECT_THAT(answers[4].step().actions(), ElementsAre(7));
  EXPECT_EQ(answers.size(), 3U);
}

TEST_F(StepStreamTest, EndsAfterAMessageOfTooManyRequests) {
  PolicyServiceOptions options;
  options.codec.max_actors_per_batch = 2;
  for (const int count : {0, 3}) {
    SCOPED_TRACE(count);
    ServedEngine served(options);
    grpc::ClientContext context;
    auto stream = served.stub().StepStream(&context);
    v1::StepStreamRequest message;
    message.mutable_several();
    for (int i = 0; i < count; ++i) {
      *message.mutable_several()->add_requests() = StreamStep(1, "a");
    }
    stream->Write(message);

    v1::StepStreamResponse nothing;
    EXPECT_FALSE(stream->Read(&nothing));
    EXPECT_EQ(ReasonOf(FromGrpcStatus(stream->Finish())), reason::kMessage);
  }
}

TEST_F(StepStreamTest, TellsTheEngineWhenItIsCancelled) {
  Open();
  stream_->Write(StreamStep(1, "a"));
  stream_->Write(StreamStep(2, "b"));
  StepTask first = engine().TakeStep();
  StepTask second = engine().TakeStep();

  context_.TryCancel();
  while (!first.is_cancelled->load()) std::this_thread::yield();
  EXPECT_TRUE(second.is_cancelled->load());
  first.done(absl::CancelledError("dropped"));
  second.done(FakeReply(1, 1));  // its batch had formed already

  EXPECT_EQ(Finish().code(), absl::StatusCode::kCancelled);
}

TEST_F(StepStreamTest, DrainsAfterWhatIsInFlight) {
  Open();
  stream_->Write(StreamStep(1, "a"));
  StepTask task = engine().TakeStep();

  EXPECT_FALSE(served_->service().Drain(absl::ZeroDuration()));
  task.done(FakeReply(1, 1));

  EXPECT_EQ(Read().request_id(), 1U);
  v1::StepStreamResponse nothing;
  EXPECT_FALSE(stream_->Read(&nothing));
  const absl::Status status = Finish();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(status), reason::kDraining);
  EXPECT_TRUE(RetryAfterOf(status).has_value());
}

TEST_F(StepStreamTest, EndsAtOnceWhenItDrainsIdle) {
  Open();
  stream_->Write(StreamStep(1, "a"));
  engine().TakeStep().done(FakeReply(1, 1));
  Read();

  EXPECT_TRUE(served_->service().Drain(absl::InfiniteDuration()));

  EXPECT_EQ(ReasonOf(Finish()), reason::kDraining);
}

TEST(StepStream, EndsAfterBytesThatAreNoRequest) {
  ServedEngine served;
  grpc::GenericStub stub(served.channel());
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  auto stream =
      stub.PrepareCall(&context, "/stepd.v1.PolicyService/StepStream", &queue);
  const auto wait = [&queue] {
    void* tag = nullptr;
    bool ok = false;
    EXPECT_TRUE(queue.Next(&tag, &ok));
    return ok;
  };
  const auto write = [&](const std::string& bytes) {
    const grpc::Slice slice(bytes);
    stream->Write(grpc::ByteBuffer(&slice, 1), nullptr);
    return wait();
  };

  stream->StartCall(nullptr);
  ASSERT_TRUE(wait());
  ASSERT_TRUE(write(StreamStep(1, "a").SerializeAsString()));
  StepTask task = served.engine().TakeStep();
  ASSERT_TRUE(write("\xff\xff"));
  task.done(FakeReply(1, 1));
  grpc::ByteBuffer answer;
  stream->Read(&answer, nullptr);
  EXPECT_TRUE(wait());  // what was in flight is answered
  grpc::Status status;
  stream->Finish(&status, nullptr);
  wait();

  EXPECT_EQ(ReasonOf(FromGrpcStatus(status)), reason::kMessage);
}

}  // namespace
}  // namespace stepd
