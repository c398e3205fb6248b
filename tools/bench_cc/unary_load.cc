// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include <grpcpp/client_context.h>
#include <grpcpp/support/async_unary_call.h>

#include <memory>
#include <optional>
#include <vector>

#include "tools/bench_cc/load.h"
#include "tools/bench_cc/wire_steps.h"

namespace stepd::bench {
namespace {

// One actor with at most one call at a time.
class UnaryActor final : public LaneEvent {
 public:
  UnaryActor(Lane* lane, Stub* stub, SimulatedActor* actor)
      : lane_(lane), stub_(stub), actor_(actor) {
    request_.set_actor_id(actor->id);
    reset_.set_actor_id(actor->id);
    StartInputs(lane->steps(), 1, request_.mutable_inputs());
  }

  void SendStep() {
    const std::int64_t row = actor_->next_step++;
    SetRows(lane_->steps(), {&row, 1}, request_.mutable_inputs());
    context_.emplace();
    sent_ = LoadClock::now();
    step_call_ = stub_->AsyncStep(&*context_, request_, lane_->queue());
    step_call_->Finish(&response_, &status_, lane_->Tag(this));
  }

  void OnEvent(bool /*ok*/) override {
    if (step_call_ != nullptr) return OnStep();
    if (!lane_->Check(status_, "Reset")) return;
    reset_call_.reset();
    if (lane_->IsOpen()) SendStep();
  }

 private:
  void OnStep() {
    if (!lane_->Check(status_, "Step")) return;
    lane_->Record(sent_, 1);
    actor_->step_index = response_.step_index();
    step_call_.reset();
    if (!lane_->IsOpen()) return;
    if (lane_->IsEpisodeOver(*actor_)) return SendReset();
    SendStep();
  }

  void SendReset() {
    context_.emplace();
    reset_call_ = stub_->AsyncReset(&*context_, reset_, lane_->queue());
    reset_call_->Finish(&reset_response_, &status_, lane_->Tag(this));
  }

  Lane* const lane_;
  Stub* const stub_;
  SimulatedActor* const actor_;
  v1::StepRequest request_;
  v1::StepResponse response_;
  v1::ResetRequest reset_;
  v1::ResetResponse reset_response_;
  LoadTime sent_;
  grpc::Status status_;
  std::optional<grpc::ClientContext> context_;
  // The call that is under way, if any.
  std::unique_ptr<grpc::ClientAsyncResponseReader<v1::StepResponse>> step_call_;
  std::unique_ptr<grpc::ClientAsyncResponseReader<v1::ResetResponse>>
      reset_call_;
};

class UnaryLoad final : public Load {
 public:
  UnaryLoad(Lane* lane, Stub* stub, absl::Span<SimulatedActor> actors) {
    for (SimulatedActor& actor : actors) {
      actors_.push_back(std::make_unique<UnaryActor>(lane, stub, &actor));
    }
  }
  void Start() override {
    for (const auto& actor : actors_) actor->SendStep();
  }

 private:
  std::vector<std::unique_ptr<UnaryActor>> actors_;
};

}  // namespace

std::unique_ptr<Load> MakeUnaryLoad(Lane* lane, Stub* stub,
                                    absl::Span<SimulatedActor> actors) {
  return std::make_unique<UnaryLoad>(lane, stub, actors);
}

}  // namespace stepd::bench
