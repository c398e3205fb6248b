// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// A call that waits for its answer: a whole RPC, or one request of a stream.
// It is its own completion: it lives until Complete().

#ifndef STEPD_SERVER_SERVICE_PENDING_CALL_H_
#define STEPD_SERVER_SERVICE_PENDING_CALL_H_

#include <atomic>
#include <chrono>
#include <memory>

#include "absl/status/status.h"
#include "server/common/clock.h"

namespace stepd {

class PendingCall {
 public:
  PendingCall(MonotonicTime deadline,
              std::shared_ptr<std::atomic<bool>> is_cancelled)
      : deadline_(deadline), is_cancelled_(std::move(is_cancelled)) {}
  virtual ~PendingCall() = default;

  // Sends the response, or the error. Called exactly once, from any thread;
  // the call may be gone when it returns.
  virtual void Complete(const absl::Status& status) = 0;
  // The same without error, when another answer to the same stream() is about
  // to be completed: they can leave together.
  virtual void CompleteFollowed() { Complete(absl::OkStatus()); }

  // The stream whose answers can leave together; nullptr: there is none.
  virtual const void* stream() const { return nullptr; }

  MonotonicTime deadline() const { return deadline_; }
  const std::shared_ptr<std::atomic<bool>>& is_cancelled() const {
    return is_cancelled_;
  }

 private:
  const MonotonicTime deadline_;
  const std::shared_ptr<std::atomic<bool>> is_cancelled_;
};

// A deadline of the wire, which is wall time, on the engine's clock.
inline MonotonicTime ToMonotonic(std::chrono::system_clock::time_point deadline,
                                 const Clock& clock) {
  using std::chrono::hours;
  using std::chrono::system_clock;
  if (deadline == system_clock::time_point::max()) return kInfiniteFuture;
  const auto left = deadline - system_clock::now();
  if (left > hours(24 * 365)) return kInfiniteFuture;
  return clock.Now() + std::chrono::duration_cast<MonotonicDuration>(left);
}

}  // namespace stepd

#endif  // STEPD_SERVER_SERVICE_PENDING_CALL_H_
