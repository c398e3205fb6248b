// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// How long a free executor waits for the sessions that it expects back.
//
// By itself it decides from two things it sees: how long a batch takes now, and
// whether the sessions' next steps come in a time of that order after their
// answers. If most do, waiting for them costs less than the batch it saves; if
// not, it only delays those that are there.
//
// Thread safety: none; one executor owns it.

#ifndef STEPD_SERVER_ENGINE_PATIENCE_H_
#define STEPD_SERVER_ENGINE_PATIENCE_H_

#include <optional>

#include "server/common/clock.h"

namespace stepd {

class Patience {
 public:
  // `max_wait` of the oldest queued step; 0: never wait; nullopt: as above.
  explicit Patience(std::optional<MonotonicDuration> max_wait)
      : max_wait_(max_wait) {}

  // A session's next step came `away` after the answer to its last one, while a
  // batch took `expected_batch`.
  void OnReturn(MonotonicDuration away, MonotonicDuration expected_batch);

  // How long to wait; 0: not at all.
  MonotonicDuration Wait(MonotonicDuration expected_batch) const;
  // Whether that counts from the last answer, not from the oldest queued step.
  bool counts_from_answer() const { return !max_wait_.has_value(); }
  // A session is expected back for so long after its last answer.
  MonotonicDuration Window(MonotonicDuration expected_batch) const;

 private:
  const std::optional<MonotonicDuration> max_wait_;
  double share_in_time_ = 1.0;  // of late returns
};

}  // namespace stepd

#endif  // STEPD_SERVER_ENGINE_PATIENCE_H_
