// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include <grpcpp/client_context.h>
#include <grpcpp/support/async_unary_call.h>

#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "tools/bench_cc/load.h"
#include "tools/bench_cc/wire_steps.h"

namespace stepd::bench {
namespace {

// A Reset that nobody waits for. Deletes itself.
class ResetCall final : public LaneEvent {
 public:
  static void Send(Lane* lane, Stub* stub, const std::string& actor_id) {
    auto* call = new ResetCall(lane);
    v1::ResetRequest request;
    request.set_actor_id(actor_id);
    call->call_ = stub->AsyncReset(&call->context_, request, lane->queue());
    call->call_->Finish(&call->response_, &call->status_, lane->Tag(call));
  }

  void OnEvent(bool /*ok*/) override {
    lane_->Check(status_, "Reset");
    delete this;
  }

 private:
  explicit ResetCall(Lane* lane) : lane_(lane) {}

  Lane* const lane_;
  grpc::ClientContext context_;
  v1::ResetResponse response_;
  grpc::Status status_;
  std::unique_ptr<grpc::ClientAsyncResponseReader<v1::ResetResponse>> call_;
};

class BatchLoad final : public Load, public LaneEvent {
 public:
  BatchLoad(Lane* lane, Stub* stub, absl::Span<SimulatedActor> actors)
      : lane_(lane), stub_(stub), actors_(actors), rows_(actors.size()) {
    for (const SimulatedActor& actor : actors) {
      request_.add_actor_ids(actor.id);
    }
    StartInputs(lane->steps(), static_cast<std::int64_t>(actors.size()),
                request_.mutable_inputs());
  }

  void Start() override { Send(); }

  void OnEvent(bool /*ok*/) override {
    if (!lane_->Check(status_, "StepBatch")) return;
    if (response_.errors_size() > 0) {
      const v1::RowError& error = response_.errors(0);
      return lane_->Fail(absl::InternalError(absl::StrCat(
          "StepBatch, row ", error.row(), ": ", error.status().message())));
    }
    lane_->Record(sent_, static_cast<std::int64_t>(actors_.size()));
    for (std::size_t i = 0; i < actors_.size(); ++i) {
      actors_[i].step_index = response_.step_indices(static_cast<int>(i));
    }
    if (lane_->IsOpen()) Send();
  }

 private:
  void Send() {
    for (std::size_t i = 0; i < actors_.size(); ++i) {
      SimulatedActor& actor = actors_[i];
      if (lane_->IsEpisodeOver(actor)) ResetCall::Send(lane_, stub_, actor.id);
      rows_[i] = actor.next_step++;
    }
    SetRows(lane_->steps(), rows_, request_.mutable_inputs());
    context_.emplace();
    sent_ = LoadClock::now();
    call_ = stub_->AsyncStepBatch(&*context_, request_, lane_->queue());
    call_->Finish(&response_, &status_, lane_->Tag(this));
  }

  Lane* const lane_;
  Stub* const stub_;
  const absl::Span<SimulatedActor> actors_;
  std::vector<std::int64_t> rows_;
  v1::StepBatchRequest request_;
  v1::StepBatchResponse response_;
  LoadTime sent_;
  grpc::Status status_;
  std::optional<grpc::ClientContext> context_;
  std::unique_ptr<grpc::ClientAsyncResponseReader<v1::StepBatchResponse>> call_;
};

}  // namespace

std::unique_ptr<Load> MakeBatchLoad(Lane* lane, Stub* stub,
                                    absl::Span<SimulatedActor> actors) {
  return std::make_unique<BatchLoad>(lane, stub, actors);
}

}  // namespace stepd::bench
