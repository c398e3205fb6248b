// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The edge and the engine together, over a real connection, with a policy that
// stands still when it is told to.

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <deque>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "proto/stepd/v1/policy_service.grpc.pb.h"
#include "server/common/error.h"
#include "server/common/mutex.h"
#include "server/engine/engine.h"
#include "server/service/policy_service.h"
#include "server/service/server.h"
#include "server/service/status_codec.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_policy.h"
#include "tests/fakes/fake_task.h"
#include "tests/fakes/recording_observer.h"

namespace stepd {
namespace {

using ::testing::IsEmpty;

v1::StepRequest MakeRequest(const std::string& actor, std::int64_t x) {
  v1::StepRequest request;
  request.set_actor_id(actor);
  v1::Tensor* tensor = request.add_inputs();
  tensor->set_name("x");
  tensor->set_dtype(v1::DATA_TYPE_INT64);
  tensor->add_shape(1);
  tensor->set_data(EncodeFakeStep(x));
  return request;
}

// Lets the test see what arrives at an engine.
class WatchedEngine : public Engine {
 public:
  explicit WatchedEngine(std::unique_ptr<Engine> engine)
      : engine_(std::move(engine)) {}

  const PolicySpec& spec() const override { return engine_->spec(); }
  const InputRules& input_rules() const override {
    return engine_->input_rules();
  }
  std::uint64_t stable_version() const override {
    return engine_->stable_version();
  }
  absl::Status RollOut(const Rollout& rollout) override {
    return engine_->RollOut(rollout);
  }
  absl::Status Submit(Task task) override {
    const auto* step = std::get_if<StepTask>(&task);
    if (step == nullptr) return engine_->Submit(std::move(task));
    const auto is_cancelled = step->is_cancelled;
    const absl::Status status = engine_->Submit(std::move(task));
    MutexLock lock(&mu_);
    submitted_.push_back(is_cancelled);
    return status;
  }
  void Drain() override { engine_->Drain(); }

  // Returns when that many steps have been submitted.
  void WaitForSteps(std::size_t count) const {
    while (NumSubmitted() < count) std::this_thread::yield();
  }
  // Returns when the caller of the last step has cancelled it.
  void WaitForCancel() const {
    while (!LastSubmitted()->load()) std::this_thread::yield();
  }

 private:
  std::size_t NumSubmitted() const {
    MutexLock lock(&mu_);
    return submitted_.size();
  }
  std::shared_ptr<const std::atomic<bool>> LastSubmitted() const {
    MutexLock lock(&mu_);
    return submitted_.back();
  }

  const std::unique_ptr<Engine> engine_;
  mutable Mutex mu_;
  std::vector<std::shared_ptr<const std::atomic<bool>>> submitted_
      ABSL_GUARDED_BY(mu_);
};

// A Step on a thread of its own.
struct Call {
  grpc::ClientContext context;
  v1::StepResponse response;
  std::future<grpc::Status> status;

  absl::Status Wait() { return FromGrpcStatus(status.get()); }
};

class EdgeTest : public ::testing::Test {
 protected:
  EdgeTest() {
    EngineOptions options;
    options.context.max_steps = 100;
    options.cache_bytes = 1 << 16;  // of 4 bytes per block
    engine_ = std::make_unique<WatchedEngine>(
        *Engine::Create(policy_, options, &observer_, &clock_));
    service_ = PolicyService::Create(engine_.get(), {}, &observer_, &clock_);
    ServerOptions server;
    server.address = "127.0.0.1:0";
    server_ = *Server::Start(server, {service_.get()});
    stub_ = v1::PolicyService::NewStub(
        grpc::CreateChannel(absl::StrCat("127.0.0.1:", server_->port()),
                            grpc::InsecureChannelCredentials()));
  }
  void TearDown() override {
    engine_->Drain();
    EXPECT_TRUE(service_->Drain(absl::InfiniteDuration()));
    server_->Shutdown(absl::InfiniteDuration());
    EXPECT_THAT(policy_->violations(), IsEmpty());
  }

  void Start(Call* call, const std::string& actor, std::int64_t x) {
    call->status = std::async(std::launch::async, [this, call, actor, x] {
      return stub_->Step(&call->context, MakeRequest(actor, x),
                         &call->response);
    });
  }
  // One Step, to its end.
  absl::StatusOr<v1::StepResponse> Step(const std::string& actor,
                                        std::int64_t x) {
    Call call;
    Start(&call, actor, x);
    const absl::Status status = call.Wait();
    if (!status.ok()) return status;
    return call.response;
  }

  // Makes the executor stand still inside a forward of `call`.
  void Block(Call* call) {
    policy_->Pause();
    Start(call, "blocker", 0);
    policy_->WaitUntilPaused();
  }

  FakeClock clock_;
  RecordingObserver observer_;
  const std::shared_ptr<FakePolicy> policy_ = std::make_shared<FakePolicy>();
  std::unique_ptr<WatchedEngine> engine_;
  std::unique_ptr<PolicyService> service_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<v1::PolicyService::Stub> stub_;
};

TEST_F(EdgeTest, AStepThatExpiresInTheQueueLeavesNoTrace) {
  ReplayedActor alone("alice", policy_->options());
  ASSERT_TRUE(Step("alice", 1).ok());
  alone.Step({1});
  Call blocker;
  Block(&blocker);

  Call expired;
  expired.context.set_deadline(std::chrono::system_clock::now() +
                               std::chrono::hours(1));
  Start(&expired, "alice", 2);
  engine_->WaitForSteps(3);
  clock_.Advance(std::chrono::hours(2));
  policy_->Resume();
  ASSERT_TRUE(blocker.Wait().ok());
  EXPECT_EQ(ReasonOf(expired.Wait()), reason::kDeadline);
  const auto next = Step("alice", 3);

  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_EQ(next->step_index(), 2U);
  EXPECT_EQ(next->actions(0), alone.Step({3}).actions[0]);
}

TEST_F(EdgeTest, AStepThatIsCancelledInTheQueueLeavesNoTrace) {
  Call blocker;
  Block(&blocker);

  Call cancelled;
  Start(&cancelled, "alice", 1);
  engine_->WaitForSteps(2);
  cancelled.context.TryCancel();
  engine_->WaitForCancel();
  EXPECT_EQ(cancelled.Wait().code(), absl::StatusCode::kCancelled);
  policy_->Resume();
  ASSERT_TRUE(blocker.Wait().ok());
  const auto next = Step("alice", 2);

  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_EQ(next->step_index(), 1U);
}

TEST_F(EdgeTest, DrainAnswersWhatIsQueuedAndRefusesTheRest) {
  Call blocker;
  Block(&blocker);
  std::vector<Call> queued(3);
  for (std::size_t i = 0; i < queued.size(); ++i) {
    Start(&queued[i], absl::StrCat("actor", i), 1);
  }
  engine_->WaitForSteps(4);

  auto drained = std::async(std::launch::async, [this] { engine_->Drain(); });
  // Until the queue is closed: what it takes before is answered as well.
  std::deque<Answer> probes;
  absl::Status probed;
  while (!absl::IsUnavailable(probed)) {
    probes.emplace_back();
    probed = engine_->Submit(MakeFakeReset("probe", &probes.back()));
    if (!probed.ok()) probes.pop_back();
  }
  const absl::Status refused = Step("late", 1).status();
  policy_->Resume();
  drained.get();

  EXPECT_EQ(ReasonOf(refused), reason::kDraining);
  EXPECT_TRUE(blocker.Wait().ok());
  for (Call& call : queued) EXPECT_TRUE(call.Wait().ok());
  for (const Answer& probe : probes) EXPECT_TRUE(probe.status().ok());
}

TEST_F(EdgeTest, AFailedForwardTellsItsIdAndLeavesTheSession) {
  ReplayedActor alone("alice", policy_->options());
  ASSERT_TRUE(Step("alice", 1).ok());
  alone.Step({1});
  policy_->FailForwards([](std::int64_t forward) { return forward == 1; });

  const absl::Status failed = Step("alice", 2).status();
  const auto next = Step("alice", 3);

  EXPECT_EQ(failed.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(ReasonOf(failed), reason::kInternal);
  const auto logged = observer_.records().forward_errors;
  ASSERT_EQ(logged.size(), 1U);
  EXPECT_EQ(MetadataOf(failed), (ErrorMetadata{{"error_id", logged[0].first}}));
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_EQ(next->step_index(), 2U);
  EXPECT_EQ(next->actions(0), alone.Step({3}).actions[0]);
}

TEST_F(EdgeTest, ManyActorsOnOneStreamAnswerAsEachAlone) {
  constexpr int kActors = 16;
  constexpr int kSteps = 50;
  grpc::ClientContext context;
  auto stream = stub_->StepStream(&context);

  std::thread writer([&] {
    for (int step = 0; step < kSteps; ++step) {
      for (int actor = 0; actor < kActors; ++actor) {
        v1::StepStreamRequest request;
        request.set_request_id(
            static_cast<std::uint64_t>(step * kActors + actor));
        *request.mutable_step() =
            MakeRequest(absl::StrCat("actor", actor), step * 7 + actor);
        stream->Write(request);
      }
    }
    stream->WritesDone();
  });
  std::map<std::uint64_t, v1::StepResponse> answers;
  v1::StepStreamResponse response;
  while (stream->Read(&response)) {
    EXPECT_TRUE(response.has_step()) << response.error().message();
    answers[response.request_id()] = response.step();
  }
  writer.join();

  EXPECT_TRUE(stream->Finish().ok());
  ASSERT_EQ(answers.size(), std::size_t{kActors * kSteps});
  for (int actor = 0; actor < kActors; ++actor) {
    ReplayedActor alone(absl::StrCat("actor", actor), policy_->options());
    for (int step = 0; step < kSteps; ++step) {
      const v1::StepResponse& got =
          answers[static_cast<std::uint64_t>(step * kActors + actor)];
      const StepReply want = alone.Step({step * 7 + actor});
      EXPECT_EQ(got.actions(0), want.actions[0]);
      EXPECT_EQ(got.step_index(), want.step_index);
    }
  }
}

}  // namespace
}  // namespace stepd
