// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// One StepStream: reads requests, has them answered, writes the answers in the
// order in which they become ready.
//
//   read ──► in flight ──answered──► write queue ──written──► forgotten
//
// A client that sends several requests in a message gets all answers that are
// ready in one.
//
// Invariants: (1) one read and one write at a time; (2) a request counts as in
// flight from its read until its answer is written, so that a client that does
// not read its answers stops being read; (3) Finish() comes once, when nothing
// is in flight, and is the last thing done.
//
// Thread safety: gRPC's threads run the reactions, executors' threads complete
// requests, any thread may Drain().

#ifndef STEPD_SERVER_SERVICE_STEP_STREAM_H_
#define STEPD_SERVER_SERVICE_STEP_STREAM_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "server/common/clock.h"
#include "server/common/mutex.h"
#include "server/service/pending_call.h"

namespace stepd {

namespace v1 {
class StepStreamRequest;
class StepStreamResponse;
}  // namespace v1

class StepStream;

// Who answers the requests of streams.
class StreamOwner {
 public:
  virtual ~StreamOwner() = default;

  // Fills `response` and completes `call`, now or later. Never blocks.
  virtual void Answer(const v1::StepStreamRequest& request,
                      v1::StepStreamResponse* response, PendingCall* call) = 0;
  // The stream is about to delete itself.
  virtual void OnStreamDone(StepStream* stream) = 0;
};

class StepStream final
    : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  struct Options {
    MonotonicTime deadline = kInfiniteFuture;
    // Requests read and not answered; beyond it the stream is not read.
    int max_in_flight = 256;
    std::int64_t max_requests_per_message = 1024;
    // For the log.
    std::string request_id;
  };

  // Deletes itself when done. `owner` must outlive it.
  StepStream(StreamOwner* owner, Options options);

  // Starts reading.
  void Start() { ReadNext(); }

  // Ends the stream (UNAVAILABLE, DRAINING) once nothing is in flight.
  void Drain() ABSL_LOCKS_EXCLUDED(mu_);

  void OnReadDone(bool ok) override ABSL_LOCKS_EXCLUDED(mu_);
  void OnWriteDone(bool ok) override ABSL_LOCKS_EXCLUDED(mu_);
  void OnCancel() override ABSL_LOCKS_EXCLUDED(mu_);
  void OnDone() override;

 private:
  // A message read: one request, or several.
  class Message;
  // A request and its answer.
  class Exchange;

  void LogFailure(std::uint64_t request_id, const absl::Status& status) const;
  void ReadNext() ABSL_LOCKS_EXCLUDED(mu_);
  // Reads no more, answers what is in flight, ends the stream with `error`.
  void StopReading(absl::Status error) ABSL_LOCKS_EXCLUDED(mu_);
  // `is_followed`: it is called again at once.
  void OnAnswered(Exchange* exchange, bool is_followed)
      ABSL_LOCKS_EXCLUDED(mu_);
  // Puts what to write next into writing_. False: there is nothing, or a write
  // is going on. Else the caller must call Write() after it has unlocked.
  bool TakeWrite() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Write();
  void Kill() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // True once: the caller must call FinishNow() after it has unlocked.
  bool ShouldFinish() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void FinishNow();

  StreamOwner* const owner_;
  const Options options_;
  const std::shared_ptr<std::atomic<bool>> is_cancelled_;

  // Belongs to the one read that is going on.
  std::unique_ptr<Message> reading_;

  // Belong to the one write that is going on.
  std::vector<Exchange*> writing_;
  bool is_more_ready_ = false;
  grpc::ByteBuffer bytes_;

  Mutex mu_;
  std::deque<Exchange*> answered_ ABSL_GUARDED_BY(mu_);
  int num_writing_ ABSL_GUARDED_BY(mu_) = 0;
  int num_in_flight_ ABSL_GUARDED_BY(mu_) = 0;
  // Reads decided on, whose StartRead() has not returned.
  int num_starting_reads_ ABSL_GUARDED_BY(mu_) = 1;
  bool is_paused_ ABSL_GUARDED_BY(mu_) = false;
  bool takes_several_ ABSL_GUARDED_BY(mu_) = false;
  bool has_read_all_ ABSL_GUARDED_BY(mu_) = false;
  bool is_dead_ ABSL_GUARDED_BY(mu_) = false;  // nothing can be written
  bool is_draining_ ABSL_GUARDED_BY(mu_) = false;
  bool is_finished_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status error_ ABSL_GUARDED_BY(mu_);  // of the client's
  absl::Status final_status_;  // set by ShouldFinish, read by FinishNow
};

}  // namespace stepd

#endif  // STEPD_SERVER_SERVICE_STEP_STREAM_H_
