// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Computations that fail: clients are told an id, what happened is for the log.
//
// Thread safety: none; one executor owns it.

#ifndef STEPD_SERVER_ENGINE_FAILURE_LOG_H_
#define STEPD_SERVER_ENGINE_FAILURE_LOG_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "server/engine/observer.h"

namespace stepd {

class FailureLog {
 public:
  // `observer` must outlive it.
  FailureLog(int executor, Observer* observer)
      : executor_(executor), observer_(observer) {}

  // Has `failure` logged, and gives its id.
  std::string Report(const absl::Status& failure);
  // What clients are told of the failure with this id: kInternal, INTERNAL.
  static absl::Status Told(const std::string& id);

 private:
  const int executor_;
  Observer* const observer_;
  std::int64_t num_failures_ = 0;
};

}  // namespace stepd

#endif  // STEPD_SERVER_ENGINE_FAILURE_LOG_H_
