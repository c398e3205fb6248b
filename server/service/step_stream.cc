// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/service/step_stream.h"

#include <google/protobuf/arena.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/stepd/v1/policy_service.pb.h"
#include "server/common/error.h"
#include "server/service/call_log.h"
#include "server/service/message_bytes.h"
#include "server/service/status_codec.h"

namespace stepd {
namespace {

// Answers that come together are no larger than this: clients have limits.
constexpr std::size_t kMostBytesTogether = 1 << 20;

}  // namespace

class StepStream::Exchange final : public PendingCall {
 public:
  Exchange(Message* message, const v1::StepStreamRequest* request);

  const v1::StepStreamRequest& request() const { return *request_; }
  v1::StepStreamResponse* response() { return response_; }
  // Of the response, once it is complete.
  std::size_t num_bytes() const { return num_bytes_; }

  void Complete(const absl::Status& status) override;
  void CompleteFollowed() override { Answered(/*is_followed=*/true); }
  const void* stream() const override;
  // The answer is written, or dropped.
  void Forget();

 private:
  void Answered(bool is_followed);

  Message* const message_;
  const v1::StepStreamRequest* const request_;
  v1::StepStreamResponse* const response_;
  std::size_t num_bytes_ = 0;
};

// Lives until each of its exchanges is forgotten.
class StepStream::Message {
 public:
  explicit Message(StepStream* stream) : stream_(stream) {}

  StepStream* stream() const { return stream_; }
  google::protobuf::Arena* arena() { return &arena_; }
  grpc::ByteBuffer* bytes() { return &bytes_; }

  // After the read. Errors: kInvalidArgument  MESSAGE
  absl::Status Parse();

  bool has_several() const { return request_->has_several(); }
  int num_requests() const {
    return has_several() ? request_->several().requests_size() : 1;
  }
  // Hands every request to the owner. This may be gone when it returns.
  void Answer();

  // May delete this.
  void Forget() {
    if (num_open_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

 private:
  void Answer(const v1::StepStreamRequest& request);

  StepStream* const stream_;
  grpc::ByteBuffer bytes_;
  google::protobuf::Arena arena_;
  v1::StepStreamRequest* const request_ =
      google::protobuf::Arena::CreateMessage<v1::StepStreamRequest>(&arena_);
  std::atomic<int> num_open_{0};  // exchanges, and Answer()
};

StepStream::Exchange::Exchange(Message* message,
                               const v1::StepStreamRequest* request)
    : PendingCall(message->stream()->options_.deadline,
                  message->stream()->is_cancelled_),
      message_(message),
      request_(request),
      response_(google::protobuf::Arena::CreateMessage<v1::StepStreamResponse>(
          message->arena())) {
  response_->set_request_id(request_->request_id());
}

void StepStream::Exchange::Complete(const absl::Status& status) {
  StepStream* stream = message_->stream();
  if (!status.ok()) {
    EncodeStatus(status, response_->mutable_error());
    stream->LogFailure(request_->request_id(), status);
  }
  Answered(/*is_followed=*/false);
}

void StepStream::Exchange::Answered(bool is_followed) {
  num_bytes_ = response_->ByteSizeLong();
  message_->stream()->OnAnswered(this, is_followed);
}

const void* StepStream::Exchange::stream() const { return message_->stream(); }

void StepStream::Exchange::Forget() { message_->Forget(); }

absl::Status StepStream::Message::Parse() {
  absl::Status status = ParseMessage(bytes_, request_);
  if (!status.ok()) return status;
  const std::int64_t most = stream_->options_.max_requests_per_message;
  if (num_requests() >= 1 && num_requests() <= most) return absl::OkStatus();
  return Error(absl::StatusCode::kInvalidArgument, reason::kMessage,
               absl::StrCat("several: got ", num_requests(),
                            " requests, want 1 to ", most));
}

void StepStream::Message::Answer() {
  num_open_.store(num_requests() + 1, std::memory_order_relaxed);
  if (!has_several()) {
    Answer(*request_);
  } else {
    for (const auto& request : request_->several().requests()) Answer(request);
  }
  Forget();
}

void StepStream::Message::Answer(const v1::StepStreamRequest& request) {
  // Completing the exchange hands it to OnAnswered().
  auto* exchange =
      google::protobuf::Arena::Create<Exchange>(&arena_, this, &request);
  stream_->owner_->Answer(request, exchange->response(), exchange);
}

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
  reading_ = std::make_unique<Message>(this);
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
  std::unique_ptr<Message> message = std::move(reading_);
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

  if (absl::Status parsed = message->Parse(); !parsed.ok()) {
    return StopReading(std::move(parsed));
  }
  {
    MutexLock lock(&mu_);
    num_in_flight_ += message->num_requests() - 1;
    takes_several_ = takes_several_ || message->has_several();
  }
  message.release()->Answer();

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

void StepStream::OnAnswered(Exchange* exchange, bool is_followed) {
  bool is_dropped = false;
  bool should_write = false;
  bool should_finish = false;
  {
    MutexLock lock(&mu_);
    is_dropped = is_dead_;
    if (is_dropped) {
      --num_in_flight_;
    } else {
      answered_.push_back(exchange);
      should_write = !is_followed && TakeWrite();
    }
    should_finish = ShouldFinish();
  }
  if (is_dropped) exchange->Forget();
  if (should_write) Write();
  if (should_finish) FinishNow();
}

bool StepStream::TakeWrite() {
  if (num_writing_ > 0 || answered_.empty()) return false;
  std::size_t num_bytes = 0;
  do {
    num_bytes += answered_.front()->num_bytes();
    writing_.push_back(answered_.front());
    answered_.pop_front();
  } while (takes_several_ && !answered_.empty() &&
           num_bytes + answered_.front()->num_bytes() <= kMostBytesTogether);
  num_writing_ = static_cast<int>(writing_.size());
  is_more_ready_ = !answered_.empty();
  return true;
}

void StepStream::Write() {
  if (writing_.size() == 1) {
    SerializeMessage(*writing_.front()->response(), &bytes_);
  } else {
    v1::StepStreamResponse together;
    auto* responses = together.mutable_several()->mutable_responses();
    for (Exchange* exchange : writing_) {
      responses->UnsafeArenaAddAllocated(exchange->response());
    }
    SerializeMessage(together, &bytes_);
    // They are their exchanges' own.
    responses->UnsafeArenaExtractSubrange(0, responses->size(), nullptr);
  }
  for (Exchange* exchange : writing_) exchange->Forget();
  writing_.clear();
  grpc::WriteOptions options;
  // More will follow at once: let the transport send them together.
  if (is_more_ready_) options.set_buffer_hint();
  StartWrite(&bytes_, options);
}

void StepStream::OnWriteDone(bool ok) {
  bool should_write = false;
  bool should_read = false;
  bool should_finish = false;
  {
    MutexLock lock(&mu_);
    num_in_flight_ -= std::exchange(num_writing_, 0);
    if (!ok) Kill();
    should_write = TakeWrite();
    if (is_paused_ && !is_dead_ && num_in_flight_ < options_.max_in_flight) {
      is_paused_ = false;
      should_read = true;
      ++num_starting_reads_;
    }
    should_finish = ShouldFinish();
  }
  if (should_write) Write();
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
  for (Exchange* exchange : answered_) exchange->Forget();
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
