// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What journals tell the outside about their work. Metrics implement it.

#ifndef STEPD_SERVER_JOURNAL_JOURNAL_EVENTS_H_
#define STEPD_SERVER_JOURNAL_JOURNAL_EVENTS_H_

#include "absl/status/status.h"
#include "server/common/clock.h"

namespace stepd {

enum class JournalCall { kAppend, kRead, kSync };

// Thread safety: called concurrently; implementations must be thread-safe and
// must not block.
class JournalEvents {
 public:
  virtual ~JournalEvents() = default;
  // Whenever a call ends, well or not.
  virtual void OnJournalCall(JournalCall call, MonotonicDuration duration,
                             const absl::Status& status) = 0;
  // Sessions that nobody came back to for `journal.ttl` were dropped.
  virtual void OnJournalExpired(int num_sessions) = 0;
  // Steps are acknowledged without being written, from now on or (false) no
  // longer. `cause` is why.
  virtual void OnJournalDegraded(bool is_degraded,
                                 const absl::Status& cause) = 0;
};

}  // namespace stepd

#endif  // STEPD_SERVER_JOURNAL_JOURNAL_EVENTS_H_
