// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// A journal in a folder of this machine: RocksDB, which only this process has
// open. What it acknowledged survives kill -9, and with JournalSync::kAlways a
// loss of power too.
//
//   H actor 'I'        the session's inputs        H: StableHash(actor)
//   H actor 'S' n      the task after which the session had n steps
//
// Keys sort by session and then by step, so a session is one short scan. One
// thread does all reads and writes; its callers wait for it no longer than
// their deadline. Appends that wait together become one write.
//
// Thread safety: thread-safe.

#ifndef STEPD_SERVER_JOURNAL_ROCKSDB_JOURNAL_H_
#define STEPD_SERVER_JOURNAL_ROCKSDB_JOURNAL_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/engine/journal.h"
#include "server/journal/journal_events.h"

namespace stepd {

enum class JournalSync {
  kAlways,    // an append is on the disk when it returns
  kInterval,  // it is with the operating system; on the disk soon after
};

struct RocksDbJournalOptions {
  std::string path;          // made if it is not there
  std::uint64_t fields = 0;  // FieldsFingerprint() of the policy
  JournalSync sync = JournalSync::kInterval;
  absl::Duration interval = absl::Milliseconds(100);
  // Sessions that nobody wrote for so long are dropped.
  absl::Duration ttl = absl::InfiniteDuration();
  // Wall time, for `ttl`.
  std::function<absl::Time()> now = absl::Now;
};

// `events` must outlive it.
// Errors: kUnavailable  the folder cannot be opened (another daemon has it, it
//                       cannot be written)
//         kDataLoss     it is damaged
absl::StatusOr<std::unique_ptr<Journal>> OpenRocksDbJournal(
    const RocksDbJournalOptions& options, JournalEvents* events);

}  // namespace stepd

#endif  // STEPD_SERVER_JOURNAL_ROCKSDB_JOURNAL_H_
