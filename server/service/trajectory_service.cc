// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/service/trajectory_service.h"

#include <grpcpp/support/server_callback.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "proto/stepd/v1/trajectory_service.grpc.pb.h"
#include "server/common/clock.h"
#include "server/common/error.h"
#include "server/common/mutex.h"
#include "server/service/call_end.h"
#include "server/service/invalid.h"
#include "server/service/trajectory_codec.h"

namespace stepd {
namespace {

// Of one message: large enough that its own cost does not matter.
constexpr StepBounds kMessageBounds = {512, 256 << 10};

using Writer = grpc::ServerWriteReactor<v1::StreamTrajectoriesResponse>;

// One call. gRPC's threads tell it what became of its writes, the service's
// thread does everything else, and last of all End(); then gRPC deletes it.
class Reader final : public Writer {
 public:
  // `after`: the last step that it has. The first message says so.
  Reader(TrajectoryBuffer* buffer, CallEnd end, TrajectoryBuffer::Place after)
      : buffer_(buffer), end_(std::move(end)), after_(std::move(after)) {}

  bool is_writing() const { return is_writing_.load(); }
  bool is_gone() const { return is_gone_.load(); }
  bool is_greeted() const { return is_greeted_; }
  std::uint64_t after() const { return after_.sequence; }

  // The next message, to be filled.
  // REQUIRES: !is_writing()
  v1::StreamTrajectoriesResponse* NewMessage(std::uint64_t sequence) {
    is_greeted_ = true;
    after_.sequence = sequence;
    message_.Clear();
    message_.set_stream_id(after_.stream_id);
    message_.set_sequence(sequence);
    return &message_;
  }
  void Send() {
    is_writing_.store(true);
    StartWrite(&message_);
  }
  // REQUIRES: !is_writing()
  void End(const absl::Status& status) {
    Finish(is_gone() ? grpc::Status::CANCELLED : end_(status));
  }

  void OnWriteDone(bool ok) override {
    if (!ok) is_gone_.store(true);
    is_writing_.store(false);
    buffer_->Wake();
  }
  void OnCancel() override {
    is_gone_.store(true);
    buffer_->Wake();
  }
  void OnDone() override { delete this; }

 private:
  TrajectoryBuffer* const buffer_;
  const CallEnd end_;
  std::atomic<bool> is_writing_{false};
  std::atomic<bool> is_gone_{false};
  // The service's thread only.
  bool is_greeted_ = false;
  TrajectoryBuffer::Place after_;
  v1::StreamTrajectoriesResponse message_;
};

class CallbackTrajectoryService final
    : public TrajectoryService,
      public v1::TrajectoryService::CallbackService {
 public:
  CallbackTrajectoryService(const PolicySpec& spec,
                            const TrajectoryServiceOptions& options,
                            TrajectoryBuffer* buffer, Observer* observer)
      : options_(options),
        codec_(spec),
        buffer_(buffer),
        observer_(observer),
        thread_([this] { Run(); }) {}
  CallbackTrajectoryService(const CallbackTrajectoryService&) = delete;
  CallbackTrajectoryService& operator=(const CallbackTrajectoryService&) =
      delete;
  ~CallbackTrajectoryService() override;

  const char* name() const override {
    return v1::TrajectoryService::service_full_name();
  }
  grpc::Service* grpc_service() override { return this; }
  bool Drain(absl::Duration timeout) override ABSL_LOCKS_EXCLUDED(mu_);

  Writer* StreamTrajectories(grpc::CallbackServerContext* context,
                             const v1::StreamTrajectoriesRequest* request)
      override ABSL_LOCKS_EXCLUDED(mu_);

 private:
  // The last step that a new reader has.
  // Errors: kPermissionDenied  READERS_REFUSED
  //         kUnavailable       DRAINING
  //         kInvalidArgument   FIELD_RANGE: the stream is not there yet
  absl::StatusOr<TrajectoryBuffer::Place> Welcome(
      const v1::StreamTrajectoriesRequest& request) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // The thread.
  void Run() ABSL_LOCKS_EXCLUDED(mu_);
  void Serve(Reader* reader, bool is_draining) ABSL_LOCKS_EXCLUDED(mu_);
  bool SendPortion(Reader* reader) const;
  void Remove(Reader* reader, const absl::Status& status)
      ABSL_LOCKS_EXCLUDED(mu_);
  MonotonicTime CloseIfUnread() ABSL_LOCKS_EXCLUDED(mu_);

  const TrajectoryServiceOptions options_;
  const TrajectoryCodec codec_;
  TrajectoryBuffer* const buffer_;
  Observer* const observer_;
  Mutex mu_;
  CondVar none_;
  // Only the thread removes and ends them.
  std::vector<Reader*> readers_ ABSL_GUARDED_BY(mu_);
  // While nobody reads an open buffer: when that has been so for long enough.
  MonotonicTime close_at_ ABSL_GUARDED_BY(mu_) = kInfiniteFuture;
  bool is_draining_ ABSL_GUARDED_BY(mu_) = false;
  bool is_stopped_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;  // last: it uses all of the above
};

CallbackTrajectoryService::~CallbackTrajectoryService() {
  {
    MutexLock lock(&mu_);
    is_stopped_ = true;
  }
  buffer_->Wake();
  thread_.join();
}

bool CallbackTrajectoryService::Drain(absl::Duration timeout) {
  const MonotonicTime until = Clock::Real()->Now() + ToMonotonic(timeout);
  MutexLock lock(&mu_);
  is_draining_ = true;
  buffer_->Wake();
  while (!readers_.empty()) {
    if (!none_.WaitUntil(&mu_, until)) break;
  }
  return readers_.empty();
}

absl::StatusOr<TrajectoryBuffer::Place> CallbackTrajectoryService::Welcome(
    const v1::StreamTrajectoriesRequest& request) const {
  if (!options_.accepts_readers) {
    return Error(absl::StatusCode::kPermissionDenied, reason::kReadersRefused,
                 "this server lets no client read what others do "
                 "(trajectories.readers)");
  }
  if (is_draining_) return Draining();
  TrajectoryBuffer::Place place = buffer_->Open();
  if (request.stream_id() != place.stream_id) return place;
  if (request.sequence() > place.sequence) {
    return Invalid(reason::kFieldRange, "sequence",
                   absl::StrCat(request.sequence()),
                   absl::StrCat("at most ", place.sequence));
  }
  place.sequence = request.sequence();
  return place;
}

Writer* CallbackTrajectoryService::StreamTrajectories(
    grpc::CallbackServerContext* context,
    const v1::StreamTrajectoriesRequest* request) {
  CallEnd end("StreamTrajectories", *context, observer_);
  MutexLock lock(&mu_);
  absl::StatusOr<TrajectoryBuffer::Place> after = Welcome(*request);
  if (!after.ok()) return new RefusedCall<Writer>(end(after.status()));
  readers_.push_back(new Reader(buffer_, std::move(end), *std::move(after)));
  observer_->OnTrajectoryReaders(static_cast<std::int64_t>(readers_.size()));
  close_at_ = kInfiniteFuture;
  buffer_->Wake();
  return readers_.back();
}

void CallbackTrajectoryService::Run() {
  pthread_setname_np(pthread_self(), "stepd-traj");
  MonotonicTime close_at = kInfiniteFuture;
  while (true) {
    buffer_->Wait(close_at);
    std::vector<Reader*> readers;
    bool is_draining = false;
    {
      MutexLock lock(&mu_);
      if (is_stopped_) return;
      readers = readers_;
      is_draining = is_draining_;
    }
    for (Reader* reader : readers) Serve(reader, is_draining);
    close_at = CloseIfUnread();
  }
}

void CallbackTrajectoryService::Serve(Reader* reader, bool is_draining) {
  if (reader->is_writing()) return;
  if (reader->is_gone()) return Remove(reader, absl::OkStatus());
  if (!reader->is_greeted()) {
    reader->NewMessage(reader->after());
    return reader->Send();
  }
  if (!SendPortion(reader) && is_draining) Remove(reader, Draining());
}

// False: it has everything.
bool CallbackTrajectoryService::SendPortion(Reader* reader) const {
  const TrajectoryBuffer::Portion portion =
      buffer_->Read(reader->after(), kMessageBounds);
  if (portion.last == reader->after()) return false;
  v1::StreamTrajectoriesResponse* message = reader->NewMessage(portion.last);
  message->set_dropped(portion.num_dropped);
  codec_.Encode(portion.steps, message);
  observer_->OnTrajectories(static_cast<std::int64_t>(portion.steps.size()),
                            static_cast<std::int64_t>(portion.num_dropped));
  reader->Send();
  return true;
}

void CallbackTrajectoryService::Remove(Reader* reader,
                                       const absl::Status& status) {
  {
    MutexLock lock(&mu_);
    readers_.erase(std::find(readers_.begin(), readers_.end(), reader));
    observer_->OnTrajectoryReaders(static_cast<std::int64_t>(readers_.size()));
    if (readers_.empty()) {
      close_at_ = Clock::Real()->Now() + ToMonotonic(options_.linger);
      none_.NotifyAll();
    }
  }
  reader->End(status);
}

// When to look again.
MonotonicTime CallbackTrajectoryService::CloseIfUnread() {
  MutexLock lock(&mu_);
  if (close_at_ <= Clock::Real()->Now()) {
    buffer_->Close();
    close_at_ = kInfiniteFuture;
  }
  return close_at_;
}

}  // namespace

std::unique_ptr<TrajectoryService> TrajectoryService::Create(
    const PolicySpec& spec, const TrajectoryServiceOptions& options,
    TrajectoryBuffer* buffer, Observer* observer) {
  return std::make_unique<CallbackTrajectoryService>(spec, options, buffer,
                                                     observer);
}

}  // namespace stepd
