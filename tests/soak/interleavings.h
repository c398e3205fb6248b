// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Every order in which a few events can happen to one session: its steps are
// sent, sent again and cancelled, time passes, it is reset and forked, weights
// are swapped, and the executor takes turns in between. Each order is run from
// the beginning, on a real executor behind a real step queue, with a policy
// that knows whose keys it reads.
//
// Thread safety: none.

#ifndef STEPD_TESTS_SOAK_INTERLEAVINGS_H_
#define STEPD_TESTS_SOAK_INTERLEAVINGS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/engine/served_version.h"

namespace stepd {

enum class Event {
  kStep,    // the next one of the actor's requests: one step, then three, ...
  kRetry,   // the request of three steps once more
  kCancel,  // that request
  kTime,    // past its deadline, and past the time of idle sessions
  kReset,
  kSwap,  // to other weights, and the next time back
  kFork,
  kForkStep,  // of the fork
  kTurn,      // the executor takes what is queued and runs a batch
};

struct InterleavingCase {
  KvPolicy kv_policy = KvPolicy::kPin;
  bool has_journal = false;
  std::vector<Event> events;  // equal ones keep their order
};
std::string NameOf(const InterleavingCase& test_case);

// Cases whose orders can all be run in seconds; and many more.
std::vector<InterleavingCase> ShortInterleavings();
std::vector<InterleavingCase> LongInterleavings();

// Runs all orders of the case's events, and adds their number.
// Errors: kInternal  what went wrong, in which order
absl::Status RunInterleavings(const InterleavingCase& test_case,
                              std::int64_t* num_orders);

}  // namespace stepd

#endif  // STEPD_TESTS_SOAK_INTERLEAVINGS_H_
