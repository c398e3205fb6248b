// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Steps that wait for a newer version of the weights.
//
// Thread safety: none; one executor owns it.

#ifndef STEPD_SERVER_ENGINE_PARKED_STEPS_H_
#define STEPD_SERVER_ENGINE_PARKED_STEPS_H_

#include <map>

#include "absl/status/status.h"
#include "server/common/clock.h"
#include "server/engine/work.h"

namespace stepd {

class ParkedSteps {
 public:
  // `work` waits, but not beyond its deadline.
  // Errors: kFailedPrecondition  MODEL_VERSION: there is no time left
  absl::Status Park(Work* work, MonotonicTime now);

  // When one is to be looked at again: its version may have come, or its
  // client may want it no more. kInfiniteFuture: there are none.
  MonotonicTime next_look() const;

  // One that is to be looked at again by then; nullptr: none.
  Work* Take(MonotonicTime until);

  // All of them, by when they are looked at.
  const std::multimap<MonotonicTime, Work*>& all() const { return parked_; }

 private:
  std::multimap<MonotonicTime, Work*> parked_;
};

}  // namespace stepd

#endif  // STEPD_SERVER_ENGINE_PARKED_STEPS_H_
