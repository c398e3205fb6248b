// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include <grpcpp/alarm.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/async_unary_call.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <vector>

#include "tools/bench_cc/load.h"
#include "tools/bench_cc/wire_steps.h"

namespace stepd::bench {
namespace {

// When an actor's steps are due: after times of an exponential distribution.
class Arrivals {
 public:
  Arrivals(double steps_per_second, std::uint64_t seed)
      : random_(seed), seconds_(steps_per_second), due_(LoadClock::now()) {}

  LoadTime Next() {
    due_ += std::chrono::duration_cast<LoadClock::duration>(
        std::chrono::duration<double>(seconds_(random_)));
    return due_;
  }

 private:
  std::mt19937_64 random_;
  std::exponential_distribution<double> seconds_;
  LoadTime due_;
};

// One actor with at most one call at a time.
class UnaryActor final : public LaneEvent {
 public:
  // Without arrivals each step is due when the last one is answered.
  UnaryActor(Lane* lane, Stub* stub, SimulatedActor* actor,
             std::optional<Arrivals> arrivals)
      : lane_(lane), stub_(stub), actor_(actor), arrivals_(arrivals) {
    request_.set_actor_id(actor->id);
    reset_.set_actor_id(actor->id);
    StartInputs(lane->steps(), 1, request_.mutable_inputs());
  }

  void ScheduleStep() {
    const LoadTime now = LoadClock::now();
    due_ = arrivals_.has_value() ? arrivals_->Next() : now;
    if (due_ <= now) return SendStep();
    is_waiting_ = true;
    alarm_.Set(lane_->queue(), std::chrono::system_clock::now() + (due_ - now),
               lane_->Tag(this));
  }

  void OnEvent(bool /*ok*/) override {
    if (is_waiting_) {
      is_waiting_ = false;
      return SendStep();
    }
    if (step_call_ != nullptr) return OnStep();
    if (!lane_->Check(status_, "Reset")) return;
    reset_call_.reset();
    if (lane_->IsOpen()) ScheduleStep();
  }

 private:
  void SendStep() {
    const std::int64_t row = actor_->next_step++;
    SetRows(lane_->steps(), {&row, 1}, request_.mutable_inputs());
    context_.emplace();
    step_call_ = stub_->AsyncStep(&*context_, request_, lane_->queue());
    step_call_->Finish(&response_, &status_, lane_->Tag(this));
  }

  void OnStep() {
    if (!lane_->Check(status_, "Step")) return;
    lane_->Record(due_, 1);
    actor_->step_index = response_.step_index();
    step_call_.reset();
    if (!lane_->IsOpen()) return;
    if (lane_->IsEpisodeOver(*actor_)) return SendReset();
    ScheduleStep();
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
  std::optional<Arrivals> arrivals_;
  grpc::Alarm alarm_;
  bool is_waiting_ = false;  // for the alarm
  LoadTime due_;
  grpc::Status status_;
  std::optional<grpc::ClientContext> context_;
  // The call that is under way, if any.
  std::unique_ptr<grpc::ClientAsyncResponseReader<v1::StepResponse>> step_call_;
  std::unique_ptr<grpc::ClientAsyncResponseReader<v1::ResetResponse>>
      reset_call_;
};

class UnaryLoad final : public Load {
 public:
  // In an open loop, of so many steps per second of each actor.
  UnaryLoad(Lane* lane, Stub* stub, absl::Span<SimulatedActor> actors,
            std::optional<double> rate) {
    for (SimulatedActor& actor : actors) {
      std::optional<Arrivals> arrivals;
      if (rate.has_value()) arrivals.emplace(*rate, actors_.size());
      actors_.push_back(
          std::make_unique<UnaryActor>(lane, stub, &actor, arrivals));
    }
  }
  void Start() override {
    for (const auto& actor : actors_) actor->ScheduleStep();
  }

 private:
  std::vector<std::unique_ptr<UnaryActor>> actors_;
};

}  // namespace

std::unique_ptr<Load> MakeUnaryLoad(Lane* lane, Stub* stub,
                                    absl::Span<SimulatedActor> actors) {
  return std::make_unique<UnaryLoad>(lane, stub, actors, std::nullopt);
}

std::unique_ptr<Load> MakeOpenLoad(Lane* lane, Stub* stub,
                                   absl::Span<SimulatedActor> actors,
                                   double steps_per_second) {
  return std::make_unique<UnaryLoad>(
      lane, stub, actors,
      steps_per_second / static_cast<double>(actors.size()));
}

}  // namespace stepd::bench
