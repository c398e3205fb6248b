// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What an executor tells the outside about its work. Metrics and benchmarks
// implement it; the engine knows neither.

#ifndef STEPD_SERVER_ENGINE_OBSERVER_H_
#define STEPD_SERVER_ENGINE_OBSERVER_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/common/clock.h"

namespace stepd {

// Why a batch was formed when it was.
enum class FireReason {
  kIdle,        // waiting is off, or would not pay
  kAllArrived,  // every session that is expected back is queued
  kFull,        // a batch limit is reached
  kWaited,      // it has been waited long enough
  kDeadline,    // a queued step would expire
  kDraining,
};
absl::string_view Name(FireReason reason);

struct BatchRecord {
  FireReason fire_reason = FireReason::kIdle;
  int num_sessions = 0;
  std::int64_t num_tokens = 0;
  int num_steps_completed = 0;
  MonotonicDuration forward{};
};

struct StepRecord {
  MonotonicDuration queue_wait{};  // Submit to the forming of its first batch
  MonotonicDuration latency{};     // Submit to completion
  int num_steps = 0;
  bool was_rebuilt = false;   // its session had lost its blocks
  bool was_repeated = false;  // the stored reply of a task answered before
};

// How a session, or a part of it, came to an end.
enum class SessionEnd {
  kExpired,        // idle for too long
  kEvictedBlocks,  // only its KV cache, which its next step rebuilds
  kReset,          // by a Reset, or by a step of the next epoch
  kClosed,         // by a Close
  kEphemeral,      // by the end of its only call
  kStored,         // only its memory: the journal has it
  kTakenOver,      // another server has it
};
absl::string_view Name(SessionEnd end);

// Totals of one executor.
struct ExecutorGauges {
  std::int64_t num_sessions = 0;
  std::int64_t num_blocks_used = 0;
  std::int64_t num_blocks = 0;
  std::int64_t num_queued = 0;
};

// Thread safety: called concurrently by the executors; implementations must be
// thread-safe and must not block.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void OnBatch(const BatchRecord& record) = 0;
  virtual void OnStep(const StepRecord& record) = 0;
  // A task ended with an error of this reason.
  virtual void OnError(absl::string_view reason) = 0;
  // A forward failed, and every task of its batch with it. Clients are told
  // `error_id` only; the log should have both.
  virtual void OnForwardError(absl::string_view error_id,
                              const absl::Status& status) {
    (void)error_id;
    (void)status;
  }
  virtual void OnSessionEnd(SessionEnd end) = 0;
  // So many idle sessions ended at once, the first of them this actor's.
  virtual void OnExpiry(std::int64_t num_sessions, absl::string_view actor_id) {
    (void)num_sessions;
    (void)actor_id;
  }
  // Readers of trajectories were sent so many steps, and told that so many
  // had been dropped before they came to them.
  virtual void OnTrajectories(std::int64_t num_sent, std::int64_t num_dropped) {
    (void)num_sent;
    (void)num_dropped;
  }
  virtual void OnTrajectoryReaders(std::int64_t num_readers) {
    (void)num_readers;
  }
  // After every batch.
  virtual void OnGauges(int executor, const ExecutorGauges& gauges) = 0;
};

// Looks away: for engines that nobody watches.
class NullObserver final : public Observer {
 public:
  void OnBatch(const BatchRecord& /*record*/) override {}
  void OnStep(const StepRecord& /*record*/) override {}
  void OnError(absl::string_view /*reason*/) override {}
  void OnSessionEnd(SessionEnd /*end*/) override {}
  void OnGauges(int /*executor*/, const ExecutorGauges& /*gauges*/) override {}
};

}  // namespace stepd

#endif  // STEPD_SERVER_ENGINE_OBSERVER_H_
