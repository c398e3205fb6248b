// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#ifndef STEPD_TESTS_SOAK_ORACLE_WATCHER_H_
#define STEPD_TESTS_SOAK_ORACLE_WATCHER_H_

#include <cstdint>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/engine/observer.h"

namespace stepd {

// Counts what executors report, by name.
//
// Thread safety: none; the oracle's executors run in its thread.
class CountingObserver final : public Observer {
 public:
  explicit CountingObserver(std::map<std::string, std::int64_t>* counts)
      : counts_(*counts) {}

  void OnBatch(const BatchRecord& record) override {
    ++counts_["batches"];
    counts_["slices"] += record.num_sessions;
  }
  void OnStep(const StepRecord& record) override {
    counts_["steps"] += record.num_steps;
    if (record.was_rebuilt) ++counts_["rebuilt"];
    if (record.was_repeated) ++counts_["repeated"];
  }
  void OnError(absl::string_view reason) override {
    ++counts_[std::string(reason)];
  }
  void OnSessionEnd(SessionEnd end) override {
    ++counts_[absl::StrCat("end ", Name(end))];
  }
  void OnGauges(int /*executor*/, const ExecutorGauges& /*gauges*/) override {}

 private:
  std::map<std::string, std::int64_t>& counts_;
};

}  // namespace stepd

#endif  // STEPD_TESTS_SOAK_ORACLE_WATCHER_H_
