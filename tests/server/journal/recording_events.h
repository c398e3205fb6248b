// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#ifndef STEPD_TESTS_SERVER_JOURNAL_RECORDING_EVENTS_H_
#define STEPD_TESTS_SERVER_JOURNAL_RECORDING_EVENTS_H_

#include <vector>

#include "absl/base/thread_annotations.h"
#include "server/common/mutex.h"
#include "server/journal/journal_events.h"

namespace stepd {

// Thread safety: thread-safe.
class RecordingEvents : public JournalEvents {
 public:
  void OnJournalCall(JournalCall /*call*/, MonotonicDuration /*duration*/,
                     const absl::Status& status) override {
    MutexLock lock(&mu_);
    ++num_calls_;
    if (!status.ok()) ++num_errors_;
    has_changed_.NotifyAll();
  }
  void OnJournalExpired(int num_sessions) override {
    MutexLock lock(&mu_);
    num_expired_ += num_sessions;
    has_changed_.NotifyAll();
  }
  void OnJournalDegraded(bool is_degraded,
                         const absl::Status& /*cause*/) override {
    MutexLock lock(&mu_);
    degraded_.push_back(is_degraded);
    has_changed_.NotifyAll();
  }

  int num_calls() const {
    MutexLock lock(&mu_);
    return num_calls_;
  }
  int num_errors() const {
    MutexLock lock(&mu_);
    return num_errors_;
  }
  std::vector<bool> degraded() const {
    MutexLock lock(&mu_);
    return degraded_;
  }
  // Returns when so many calls have ended.
  void AwaitCalls(int num_calls) {
    MutexLock lock(&mu_);
    while (num_calls_ < num_calls) has_changed_.Wait(&mu_);
  }
  // Returns when the last that was told is this.
  void AwaitDegraded(bool is_degraded) {
    MutexLock lock(&mu_);
    while (degraded_.empty() || degraded_.back() != is_degraded) {
      has_changed_.Wait(&mu_);
    }
  }
  // Returns when so many sessions have expired.
  void AwaitExpired(int num_sessions) {
    MutexLock lock(&mu_);
    while (num_expired_ < num_sessions) has_changed_.Wait(&mu_);
  }

 private:
  mutable Mutex mu_;
  CondVar has_changed_;
  int num_calls_ ABSL_GUARDED_BY(mu_) = 0;
  int num_errors_ ABSL_GUARDED_BY(mu_) = 0;
  int num_expired_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<bool> degraded_ ABSL_GUARDED_BY(mu_);
};

}  // namespace stepd

#endif  // STEPD_TESTS_SERVER_JOURNAL_RECORDING_EVENTS_H_
