// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// An observer that remembers what it was told.
//
// Thread safety: thread-safe.

#ifndef STEPD_TESTS_FAKES_RECORDING_OBSERVER_H_
#define STEPD_TESTS_FAKES_RECORDING_OBSERVER_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/common/mutex.h"
#include "server/engine/observer.h"

namespace stepd {

class RecordingObserver : public Observer {
 public:
  struct Records {
    std::vector<BatchRecord> batches;
    std::vector<StepRecord> steps;
    std::vector<std::string> errors;  // reasons
    std::vector<std::pair<std::string, absl::Status>> forward_errors;
    std::vector<SessionEnd> session_ends;
    std::vector<std::pair<std::int64_t, std::string>> expiries;
    std::vector<ExecutorGauges> gauges;
  };

  void OnBatch(const BatchRecord& record) override {
    MutexLock lock(&mu_);
    records_.batches.push_back(record);
  }
  void OnStep(const StepRecord& record) override {
    MutexLock lock(&mu_);
    records_.steps.push_back(record);
  }
  void OnError(absl::string_view reason) override {
    MutexLock lock(&mu_);
    records_.errors.emplace_back(reason);
  }
  void OnForwardError(absl::string_view error_id,
                      const absl::Status& status) override {
    MutexLock lock(&mu_);
    records_.forward_errors.emplace_back(std::string(error_id), status);
  }
  void OnSessionEnd(SessionEnd end) override {
    MutexLock lock(&mu_);
    records_.session_ends.push_back(end);
  }
  void OnExpiry(std::int64_t num_sessions,
                absl::string_view actor_id) override {
    MutexLock lock(&mu_);
    records_.expiries.emplace_back(num_sessions, std::string(actor_id));
  }
  void OnGauges(int, const ExecutorGauges& gauges) override {
    MutexLock lock(&mu_);
    records_.gauges.push_back(gauges);
  }

  Records records() const {
    MutexLock lock(&mu_);
    return records_;
  }

 private:
  mutable Mutex mu_;
  Records records_ ABSL_GUARDED_BY(mu_);
};

}  // namespace stepd

#endif  // STEPD_TESTS_FAKES_RECORDING_OBSERVER_H_
