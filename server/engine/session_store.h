// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What is done to the sessions of one executor besides computing their steps:
// opening, ending, forking, copying in and out, telling about them.
//
// Thread safety: none; one executor owns it.

#ifndef STEPD_SERVER_ENGINE_SESSION_STORE_H_
#define STEPD_SERVER_ENGINE_SESSION_STORE_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/policy_spec.h"
#include "server/common/clock.h"
#include "server/engine/observer.h"
#include "server/engine/running_versions.h"
#include "server/engine/session.h"
#include "server/engine/session_blocks.h"
#include "server/engine/session_info.h"
#include "server/engine/session_record.h"
#include "server/engine/session_table.h"

namespace stepd {

// How many sessions may be open in the whole engine. Executors share one,
// because actors do not hash evenly.
//
// Thread safety: thread-safe.
class SessionBudget {
 public:
  explicit SessionBudget(std::int64_t max_sessions) : num_free_(max_sessions) {}

  bool TryAcquire() {
    if (num_free_.fetch_sub(1, std::memory_order_relaxed) > 0) return true;
    Release(1);
    return false;
  }
  void Release(std::int64_t count) {
    num_free_.fetch_add(count, std::memory_order_relaxed);
  }

 private:
  std::atomic<std::int64_t> num_free_;
};

class SessionStore {
 public:
  // What is passed by pointer, and `spec`, must outlive it.
  struct Parts {
    RunningVersions* versions = nullptr;
    SessionBudget* budget = nullptr;
    Observer* observer = nullptr;
    // What is idle may leave the memory for another session's sake.
    bool has_journal = false;
  };
  // `first_epoch`: of the first session that is opened without one.
  SessionStore(const PolicySpec& spec, const Parts& parts,
               std::int32_t num_blocks, std::uint64_t first_epoch);
  ~SessionStore();
  SessionStore(const SessionStore&) = delete;
  SessionStore& operator=(const SessionStore&) = delete;

  SessionTable& table() { return table_; }
  const SessionTable& table() const { return table_; }
  SessionBlocks& blocks() { return blocks_; }
  const SessionBlocks& blocks() const { return blocks_; }
  std::int64_t num_open() const { return num_open_; }
  std::uint64_t NextEpoch() { return next_epoch_++; }

  // A place among the sessions, if it has none; with a journal, that of the
  // session idle for longest if all are taken.
  // Errors: kResourceExhausted  SESSIONS_FULL
  absl::Status Open(Session* session);

  // As if the actor had never come. The session had ended as `end` says.
  void End(SessionEnd end, Session* session);
  // The same for one that never was.
  void Empty(Session* session);

  // Takes its steps from a session, which keeps its place: the next task may
  // begin it anew. Its blocks go, and are computed again if it comes back.
  std::unique_ptr<SessionState> SetAside(Session* session);
  // That task has failed: the session is what it was.
  void PutBack(std::unique_ptr<SessionState> state, Session* session);
  // That task has not: what the session was has ended as `end` says.
  void EndAside(SessionEnd end, std::unique_ptr<SessionState> state,
                const Session& session);

  // `fork` becomes what `source` is, and shares its blocks and its log.
  // REQUIRES: `fork` has no step.
  // Errors: kResourceExhausted  SESSIONS_FULL
  absl::Status Fork(const Session& source, std::uint64_t epoch, Session* fork);

  // `session` becomes what `record` says, under its own name.
  // REQUIRES: `session` has no step.
  // Errors: kResourceExhausted  SESSIONS_FULL
  //         kInvalidArgument    RECORD: no session of this policy
  absl::Status Import(const SessionRecord& record, Session* session);

  SessionInfo InfoOf(const Session& session, int executor,
                     MonotonicTime now) const;
  // The sessions that ended last, oldest first.
  const std::deque<EndedSession>& ended() const { return ended_; }

 private:
  void NoteEnd(SessionEnd end, absl::string_view actor_id,
               const SessionState& state);
  // As if no step had come yet.
  void Clear(Session* session);

  RunningVersions& versions_;
  SessionBudget* const budget_;
  Observer* const observer_;
  const bool has_journal_;
  SessionTable table_;
  SessionBlocks blocks_;
  std::int64_t num_open_ = 0;
  std::uint64_t next_epoch_;
  std::deque<EndedSession> ended_;
};

}  // namespace stepd

#endif  // STEPD_SERVER_ENGINE_SESSION_STORE_H_
