// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include <grpcpp/client_context.h>
#include <grpcpp/support/async_stream.h>

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "tools/bench_cc/load.h"
#include "tools/bench_cc/wire_steps.h"

namespace stepd::bench {
namespace {

using Request = v1::StepStreamRequest;
using Response = v1::StepStreamResponse;

class StreamLoad final : public Load {
 public:
  StreamLoad(Lane* lane, Stub* stub, absl::Span<SimulatedActor> actors,
             std::size_t most_together);

  void Start() override {
    stream_ = stub_->AsyncStepStream(&context_, lane_->queue(),
                                     lane_->Tag(&on_started_));
  }
  // Requests wait until all answers that are there have been read, and go out
  // in as few messages as the server takes.
  void OnQuiet() override { WriteNext(); }

 private:
  class Event final : public LaneEvent {
   public:
    explicit Event(std::function<void(bool)> run) : run_(std::move(run)) {}
    void OnEvent(bool ok) override { run_(ok); }

   private:
    const std::function<void(bool)> run_;
  };
  struct Actor {
    SimulatedActor* state;
    Request step;
    Request reset;
    LoadTime sent;
  };

  void OnStarted(bool ok);
  void OnRead(bool ok);
  void OnWritten(bool ok);
  void OnFinished();

  void SendStep(Actor* actor);
  void SendReset(Actor* actor);
  void OnAnswer(const Response& answer);
  void OnStep(Actor* actor, const v1::StepResponse& answer);
  void Read() { stream_->Read(&response_, lane_->Tag(&on_read_)); }
  void WriteNext();
  void FinishIfDone();

  Lane* const lane_;
  Stub* const stub_;
  const std::size_t most_together_;
  std::vector<Actor> actors_;  // request ids are indices; see SendReset()
  grpc::ClientContext context_;
  Response response_;
  grpc::Status status_;
  std::deque<Request*> to_write_;
  Request together_;
  std::size_t num_unanswered_ = 0;
  bool is_started_ = false;
  bool is_writing_ = false;
  bool is_finishing_ = false;
  Event on_started_{[this](bool ok) { OnStarted(ok); }};
  Event on_read_{[this](bool ok) { OnRead(ok); }};
  Event on_written_{[this](bool ok) { OnWritten(ok); }};
  Event on_half_closed_{[](bool /*ok*/) {}};
  Event on_finished_{[this](bool /*ok*/) { OnFinished(); }};
  std::unique_ptr<grpc::ClientAsyncReaderWriter<Request, Response>> stream_;
};

StreamLoad::StreamLoad(Lane* lane, Stub* stub,
                       absl::Span<SimulatedActor> actors,
                       std::size_t most_together)
    : lane_(lane),
      stub_(stub),
      most_together_(most_together),
      actors_(actors.size()) {
  for (std::size_t i = 0; i < actors.size(); ++i) {
    Actor& actor = actors_[i];
    actor.state = &actors[i];
    actor.step.set_request_id(i);
    actor.step.mutable_step()->set_actor_id(actors[i].id);
    StartInputs(lane->steps(), 1, actor.step.mutable_step()->mutable_inputs());
    actor.reset.set_request_id(i);
    actor.reset.mutable_reset()->set_actor_id(actors[i].id);
  }
}

void StreamLoad::OnStarted(bool ok) {
  is_started_ = true;
  if (ok) {
    for (Actor& actor : actors_) SendStep(&actor);
  }
  Read();
}

void StreamLoad::OnRead(bool ok) {
  if (!ok) {  // the server has ended the stream
    is_finishing_ = true;
    stream_->Finish(&status_, lane_->Tag(&on_finished_));
    return;
  }
  if (response_.has_several()) {
    for (const Response& one : response_.several().responses()) OnAnswer(one);
  } else {
    OnAnswer(response_);
  }
  Read();
}

void StreamLoad::OnAnswer(const Response& answer) {
  --num_unanswered_;
  Actor& actor = actors_[static_cast<std::size_t>(answer.request_id())];
  switch (answer.response_case()) {
    case Response::kStep:
      OnStep(&actor, answer.step());
      break;
    case Response::kReset:
      break;
    default:
      lane_->Fail(absl::InternalError(absl::StrCat("StepStream, actor ",
                                                   actor.state->id, ": ",
                                                   answer.error().message())));
  }
}

void StreamLoad::OnStep(Actor* actor, const v1::StepResponse& answer) {
  lane_->Record(actor->sent, 1);
  actor->state->step_index = answer.step_index();
  if (!lane_->IsOpen()) return;
  if (lane_->IsEpisodeOver(*actor->state)) SendReset(actor);
  SendStep(actor);
}

void StreamLoad::SendStep(Actor* actor) {
  const std::int64_t row = actor->state->next_step++;
  SetRows(lane_->steps(), {&row, 1},
          actor->step.mutable_step()->mutable_inputs());
  actor->sent = LoadClock::now();
  ++num_unanswered_;
  to_write_.push_back(&actor->step);
}

void StreamLoad::SendReset(Actor* actor) {
  ++num_unanswered_;
  to_write_.push_back(&actor->reset);
}

void StreamLoad::WriteNext() {
  if (!is_started_ || is_writing_ || is_finishing_) return;
  if (to_write_.empty()) return FinishIfDone();
  const std::size_t count = std::min(to_write_.size(), most_together_);
  grpc::WriteOptions options;
  // More follows at once: let the transport send them together.
  if (count < to_write_.size()) options.set_buffer_hint();
  is_writing_ = true;
  if (count == 1) {
    stream_->Write(*to_write_.front(), options, lane_->Tag(&on_written_));
  } else {
    auto* requests = together_.mutable_several()->mutable_requests();
    for (std::size_t i = 0; i < count; ++i) {
      requests->UnsafeArenaAddAllocated(to_write_[i]);
    }
    stream_->Write(together_, options, lane_->Tag(&on_written_));
    // They are their actors' own.
    requests->UnsafeArenaExtractSubrange(0, requests->size(), nullptr);
  }
  to_write_.erase(to_write_.begin(),
                  to_write_.begin() + static_cast<std::ptrdiff_t>(count));
}

void StreamLoad::OnWritten(bool ok) {
  is_writing_ = false;
  if (ok && !to_write_.empty()) WriteNext();
}

// The server answers the half-close by ending the stream: see OnRead().
void StreamLoad::FinishIfDone() {
  if (lane_->IsOpen() || num_unanswered_ > 0) return;
  is_finishing_ = true;
  stream_->WritesDone(lane_->Tag(&on_half_closed_));
}

void StreamLoad::OnFinished() { lane_->Check(status_, "StepStream"); }

}  // namespace

std::unique_ptr<Load> MakeStreamLoad(Lane* lane, Stub* stub,
                                     absl::Span<SimulatedActor> actors,
                                     std::size_t most_together) {
  return std::make_unique<StreamLoad>(lane, stub, actors, most_together);
}

}  // namespace stepd::bench
