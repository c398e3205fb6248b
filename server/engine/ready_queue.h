// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The steps that could run now (at most one per session), and when to run them.
//
// Single steps of cached sessions and everything longer (several steps, or a
// rebuild) wait apart, so that a batch can mix them in a chosen proportion.
//
// Thread safety: none; one executor owns it.

#ifndef STEPD_SERVER_ENGINE_READY_QUEUE_H_
#define STEPD_SERVER_ENGINE_READY_QUEUE_H_

#include <cstdint>
#include <optional>

#include "server/common/clock.h"
#include "server/engine/intrusive_list.h"
#include "server/engine/observer.h"
#include "server/engine/work.h"

namespace stepd {

struct FireOptions {
  int max_batch_sessions = 256;
  std::int64_t max_batch_tokens = 2048;
  // See Patience.
  std::optional<MonotonicDuration> max_wait = MonotonicDuration::zero();
};

struct FireTime {
  MonotonicTime at = kInfiniteFuture;
  FireReason reason = FireReason::kIdle;
  // With so many more tasks it may be earlier.
  std::int64_t num_missing = 1;
};

// What the decision to fire depends on besides the queue.
struct FireConditions {
  MonotonicTime now{};
  // How long to wait for sessions whose step may come soon; nullopt: not at
  // all.
  std::optional<MonotonicTime> wait_until;
  std::int64_t num_recent_idle = 0;    // those sessions
  MonotonicDuration expected_batch{};  // how long a batch takes
  bool is_draining = false;
};

class ReadyQueue {
 public:
  using List = IntrusiveList<Work, &Work::ready_link>;

  explicit ReadyQueue(const FireOptions& options) : options_(options) {}

  bool empty() const { return singles_.empty() && longs_.empty(); }
  std::int64_t size() const { return num_works_; }
  const List& singles() const { return singles_; }
  const List& longs() const { return longs_; }

  // Puts a step at the end of the list that its `is_single` says.
  void Push(Work* work);
  void Remove(Work* work);

  // When the next batch should form: now or earlier means at once, and an
  // empty queue means never. With wait_until, the batch waits for more until
  // that time, or every recent session has come, a batch limit is reached or
  // the earliest deadline would be missed.
  FireTime NextFire(const FireConditions& conditions);

  // When the step was submitted that waits longest; kInfiniteFuture: none.
  MonotonicTime OldestSubmitted();

 private:
  struct Urgency {
    MonotonicTime oldest_submitted = kInfiniteFuture;
    MonotonicTime earliest_deadline = kInfiniteFuture;
  };
  void AddToUrgency(Work* work);
  void RefreshUrgency();

  const FireOptions options_;
  List singles_;
  List longs_;
  std::int64_t num_works_ = 0;
  std::int64_t num_tokens_ = 0;
  // Of all queued steps, unless one left since: then it is made anew.
  Urgency urgency_;
  bool is_urgency_stale_ = false;
};

}  // namespace stepd

#endif  // STEPD_SERVER_ENGINE_READY_QUEUE_H_
