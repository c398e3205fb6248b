// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/service/step_stream.h"

#include <google/protobuf/arena.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/stepd/v1/policy_service.pb.h"
#include "server/common/error.h"
#include "server/service/call_log.h"
#include "server/service/message_bytes.h"
#include "server/service/status_codec.h"

namespace stepd {

class StepStream::Exchange final : public PendingCall {
 public:
  explicit Exchange(StepStream* stream)
      : PendingCall(stream->options_.deadline, stream->is_cancelled_),
        stream_(stream) {}

  grpc::ByteBuffer* bytes() { return &bytes_; }

  // After the read. Errors: kInvalidArgument  MESSAGE
  absl::Status Parse() {
    const absl::Status status = ParseMessage(bytes_, request_);
    response_->set_request_id(request_->request_id());
    return status;
  }
  const v1::StepStreamRequest& request() const { return *request_; }
  v1::StepStreamResponse* response() { return response_; }

  void Complete(const absl::Status& status) override {
    if (!status.ok()) {
      EncodeStatus(status, response_->mutable_error());
      stream_->LogFailure(request_->request_id(), status);
    }
    SerializeMessage(*response_, &bytes_);
    stream_->OnAnswered(std::unique_ptr<Exchange>(this));
  }

 private:
  StepStream* const stream_;
  grpc::ByteBuffer bytes_;  // of the request, then of the response
  google::protobuf::Arena arena_;
  v1::StepStreamRequest* const request_ =
      google::protobuf::Arena::CreateMessage<v1::StepStreamRequest>(&arena_);
  v1::StepStreamResponse* const response_ =
      google::protobuf::Arena::CreateMessage<v1::StepStreamResponse>(&arena_);
};

StepStream::StepStream(StreamOwner* owner, Options options)
    : owner_(owner),
      options_(std::move(options)),
      is_cancelled_(std::make_shared<std::atomic<bool>>(false)) {}

void StepStream::LogFailure(std::uint64_t request_id,
                            const absl::Status& status) const {
  if (!IsFailureLogged(status)) return;
  LogFailedCall("stepd.v1.StepStreamRequest",
                absl::StrCat(options_.request_id, "/", request_id), status);
}

// REQUIRES: the caller has counted this read in num_starting_reads_.
void StepStream::ReadNext() {
  reading_ = std::make_unique<Exchange>(this);
  StartRead(reading_->bytes());
  bool should_finish = false;
  {
    MutexLock lock(&mu_);
    --num_starting_reads_;
    should_finish = ShouldFinish();
  }
  if (should_finish) FinishNow();
}

void StepStream::OnReadDone(bool ok) {
  std::unique_ptr<Exchange> exchange = std::move(reading_);
  bool should_finish = false;
  bool is_dropped = false;
  {
    MutexLock lock(&mu_);
    has_read_all_ = has_read_all_ || !ok;
    is_dropped = !ok || is_dead_ || is_finished_;
    if (!is_dropped) ++num_in_flight_;
    should_finish = ShouldFinish();
  }
  if (should_finish) FinishNow();
  if (is_dropped) return;

  if (absl::Status parsed = exchange->Parse(); !parsed.ok()) {
    return StopReading(std::move(parsed));
  }
  // Completing the exchange hands it back to OnAnswered().
  Exchange* call = exchange.release();
  owner_->Answer(call->request(), call->response(), call);

  bool should_read = false;
  {
    MutexLock lock(&mu_);
    if (is_dead_ || is_finished_) return;
    is_paused_ = num_in_flight_ >= options_.max_in_flight;
    should_read = !is_paused_;
    if (should_read) ++num_starting_reads_;
  }
  if (should_read) ReadNext();
}

void StepStream::StopReading(absl::Status error) {
  bool should_finish = false;
  {
    MutexLock lock(&mu_);
    --num_in_flight_;
    has_read_all_ = true;
    error_ = std::move(error);
    should_finish = ShouldFinish();
  }
  if (should_finish) FinishNow();
}

void StepStream::OnAnswered(std::unique_ptr<Exchange> exchange) {
  Exchange* write = nullptr;
  bool is_last = true;
  bool should_finish = false;
  {
    MutexLock lock(&mu_);
    if (is_dead_) {
      --num_in_flight_;
    } else {
      answered_.push_back(std::move(exchange));
      write = PopWrite(&is_last);
    }
    should_finish = ShouldFinish();
  }
  if (write != nullptr) Write(write, is_last);
  if (should_finish) FinishNow();
}

StepStream::Exchange* StepStream::PopWrite(bool* is_last) {
  if (writing_ != nullptr || answered_.empty()) return nullptr;
  writing_ = std::move(answered_.front());
  answered_.pop_front();
  *is_last = answered_.empty();
  return writing_.get();
}

void StepStream::Write(Exchange* exchange, bool is_last) {
  grpc::WriteOptions options;
  // More will follow at once: let the transport send them together.
  if (!is_last) options.set_buffer_hint();
  StartWrite(exchange->bytes(), options);
}

void StepStream::OnWriteDone(bool ok) {
  Exchange* write = nullptr;
  bool is_last = true;
  bool should_read = false;
  bool should_finish = false;
  {
    MutexLock lock(&mu_);
    writing_.reset();
    --num_in_flight_;
    if (!ok) Kill();
    write = PopWrite(&is_last);
    if (is_paused_ && !is_dead_ && num_in_flight_ < options_.max_in_flight) {
      is_paused_ = false;
      should_read = true;
      ++num_starting_reads_;
    }
    should_finish = ShouldFinish();
  }
  if (write != nullptr) Write(write, is_last);
  if (should_read) ReadNext();
  if (should_finish) FinishNow();
}

void StepStream::OnCancel() {
  is_cancelled_->store(true, std::memory_order_relaxed);
  bool should_finish = false;
  {
    MutexLock lock(&mu_);
    Kill();
    should_finish = ShouldFinish();
  }
  if (should_finish) FinishNow();
}

void StepStream::Drain() {
  bool should_finish = false;
  {
    MutexLock lock(&mu_);
    is_draining_ = true;
    should_finish = ShouldFinish();
  }
  if (should_finish) FinishNow();
}

void StepStream::OnDone() {
  owner_->OnStreamDone(this);
  delete this;
}

void StepStream::Kill() {
  is_dead_ = true;
  num_in_flight_ -= static_cast<int>(answered_.size());
  answered_.clear();
}

bool StepStream::ShouldFinish() {
  if (is_finished_ || num_in_flight_ > 0 || num_starting_reads_ > 0) {
    return false;
  }
  if (is_dead_) {
    final_status_ = absl::CancelledError("the stream is cancelled");
  } else if (has_read_all_) {
    final_status_ = error_;
  } else if (is_draining_) {
    final_status_ =
        RetryableError(absl::StatusCode::kUnavailable, reason::kDraining,
                       "the server is shutting down", absl::Seconds(1));
  } else {
    return false;
  }
  is_finished_ = true;
  return true;
}

void StepStream::FinishNow() { Finish(ToGrpcStatus(final_status_)); }

}  // namespace stepd
