// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Readers of a buffer behind a real server on a free port.

#include "server/service/trajectory_service.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdint>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/stepd/v1/trajectory_service.grpc.pb.h"
#include "server/common/error.h"
#include "server/service/server.h"
#include "server/service/status_codec.h"
#include "tests/fakes/recording_observer.h"

namespace stepd {
namespace {

using testing::ElementsAre;
using testing::Ne;

// One call.
class Call {
 public:
  Call(v1::TrajectoryService::Stub* stub, const std::string& stream_id,
       std::uint64_t sequence) {
    context_.set_deadline(std::chrono::system_clock::now() +
                          std::chrono::minutes(1));
    v1::StreamTrajectoriesRequest request;
    request.set_stream_id(stream_id);
    request.set_sequence(sequence);
    reader_ = stub->StreamTrajectories(&context_, request);
  }
  ~Call() { context_.TryCancel(); }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  v1::StreamTrajectoriesResponse Next() {
    v1::StreamTrajectoriesResponse response;
    EXPECT_TRUE(reader_->Read(&response));
    return response;
  }
  // Indices of the steps up to this one of the stream.
  std::vector<std::uint64_t> ReadUntil(std::uint64_t sequence) {
    std::vector<std::uint64_t> indices;
    while (true) {
      const v1::StreamTrajectoriesResponse response = Next();
      indices.insert(indices.end(), response.step_indices().begin(),
                     response.step_indices().end());
      const bool is_over =
          response.sequence() >= sequence || testing::Test::HasFailure();
      if (is_over) return indices;
    }
  }
  // Of a call that the server ends.
  absl::Status Status() {
    v1::StreamTrajectoriesResponse response;
    EXPECT_FALSE(reader_->Read(&response));
    return FromGrpcStatus(reader_->Finish());
  }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::StreamTrajectoriesResponse>> reader_;
};

class TrajectoryServiceTest : public testing::Test {
 protected:
  TrajectoryServiceTest() { options_.accepts_readers = true; }
  void TearDown() override { server_->Shutdown(absl::ZeroDuration()); }

  void Start() {
    spec_.fields = {FieldSpec{"x", DType::kBool, {}, {}, {}}};
    service_ = TrajectoryService::Create(spec_, options_, &buffer_, &observer_);
    ServerOptions server;
    server.address = "127.0.0.1:0";
    auto started = Server::Start(server, {service_.get()});
    ASSERT_TRUE(started.ok()) << started.status();
    server_ = *std::move(started);
    stub_ = v1::TrajectoryService::NewStub(
        grpc::CreateChannel(absl::StrCat("127.0.0.1:", server_->port()),
                            grpc::InsecureChannelCredentials()));
  }
  std::unique_ptr<Call> Read(const std::string& stream_id = "",
                             std::uint64_t sequence = 0) {
    return std::make_unique<Call>(stub_.get(), stream_id, sequence);
  }
  // Steps with these indices finish.
  void Finish(const std::vector<std::uint64_t>& indices) {
    std::vector<FinishedStep> steps;
    for (const std::uint64_t index : indices) {
      FinishedStep step;
      step.step_index = index;
      step.inputs = std::string(1, '\1');
      steps.push_back(std::move(step));
    }
    buffer_.Take(std::move(steps));
  }

  TrajectoryServiceOptions options_;
  PolicySpec spec_;
  RecordingObserver observer_;
  TrajectoryBuffer buffer_{{1000, 1 << 20}};
  std::unique_ptr<TrajectoryService> service_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<v1::TrajectoryService::Stub> stub_;
};

TEST_F(TrajectoryServiceTest, ReadersAreSentWhatFinishesFromTheirFirstMessage) {
  Start();
  EXPECT_FALSE(buffer_.is_open());
  const auto first = Read();
  const v1::StreamTrajectoriesResponse hello = first->Next();
  EXPECT_THAT(hello.stream_id(), Ne(""));
  EXPECT_EQ(hello.sequence(), 0U);
  EXPECT_EQ(hello.step_indices_size(), 0);

  Finish({10, 11});
  EXPECT_THAT(first->ReadUntil(2), ElementsAre(10, 11));
  const auto second = Read();
  EXPECT_EQ(second->Next().sequence(), 2U);
  Finish({12});

  EXPECT_THAT(first->ReadUntil(3), ElementsAre(12));
  EXPECT_THAT(second->ReadUntil(3), ElementsAre(12));
}

TEST_F(TrajectoryServiceTest, AReaderThatComesBackGoesOn) {
  Start();
  std::string stream_id;
  {
    const auto first = Read();
    stream_id = first->Next().stream_id();
    Finish({10, 11, 12});
    EXPECT_THAT(first->ReadUntil(3), ElementsAre(10, 11, 12));
  }
  Finish({13});

  const auto again = Read(stream_id, 1);
  const v1::StreamTrajectoriesResponse hello = again->Next();
  EXPECT_EQ(hello.stream_id(), stream_id);
  EXPECT_EQ(hello.sequence(), 1U);
  EXPECT_THAT(again->ReadUntil(4), ElementsAre(11, 12, 13));
}

TEST_F(TrajectoryServiceTest, AnotherStreamBeginsNow) {
  Start();
  const auto first = Read();
  first->Next();
  Finish({10});

  const auto other = Read("of another server", 7);
  const v1::StreamTrajectoriesResponse hello = other->Next();
  EXPECT_THAT(hello.stream_id(), Ne("of another server"));
  EXPECT_EQ(hello.sequence(), 1U);
  Finish({11});
  EXPECT_THAT(other->ReadUntil(2), ElementsAre(11));
}

TEST_F(TrajectoryServiceTest, AStreamThatNobodyReadsEnds) {
  options_.linger = absl::ZeroDuration();
  Start();
  std::string stream_id;
  {
    const auto first = Read();
    stream_id = first->Next().stream_id();
  }
  while (buffer_.is_open()) std::this_thread::yield();

  EXPECT_THAT(Read(stream_id, 0)->Next().stream_id(), Ne(stream_id));
}

TEST_F(TrajectoryServiceTest, RefusesWhatHasNotBeen) {
  Start();
  const auto first = Read();
  const std::string stream_id = first->Next().stream_id();

  const absl::Status status = Read(stream_id, 1)->Status();
  EXPECT_EQ(ReasonOf(status), reason::kFieldRange);
}

TEST_F(TrajectoryServiceTest, RefusesReadersWhereNoneAreWanted) {
  options_.accepts_readers = false;
  Start();
  const absl::Status status = Read()->Status();
  EXPECT_EQ(ReasonOf(status), reason::kReadersRefused);
  EXPECT_FALSE(buffer_.is_open());
}

TEST_F(TrajectoryServiceTest, DrainSendsTheRestAndEndsTheCalls) {
  Start();
  const auto reader = Read();
  reader->Next();
  std::vector<std::uint64_t> indices(900);  // several messages
  for (std::size_t i = 0; i < indices.size(); ++i) indices[i] = i;
  Finish(indices);
  auto drained = std::async(std::launch::async, [this] {
    return service_->Drain(absl::InfiniteDuration());
  });

  EXPECT_EQ(reader->ReadUntil(900), indices);
  EXPECT_EQ(ReasonOf(reader->Status()), reason::kDraining);
  EXPECT_TRUE(drained.get());
  EXPECT_EQ(ReasonOf(Read()->Status()), reason::kDraining);
}

}  // namespace
}  // namespace stepd
