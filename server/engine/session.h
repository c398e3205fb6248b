// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// A session: the log of its inputs and of the steps its actor sent, and the KV
// blocks that cache a part of it. The log is the session; the blocks can be
// dropped at any time and are rebuilt from the log with the same results.
//
// Thread safety: none; its executor owns it.

#ifndef STEPD_SERVER_ENGINE_SESSION_H_
#define STEPD_SERVER_ENGINE_SESSION_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "model/step.h"
#include "server/common/clock.h"
#include "server/common/stable_hash.h"
#include "server/engine/context.h"
#include "server/engine/intrusive_list.h"
#include "server/engine/running_versions.h"
#include "server/engine/session_record.h"
#include "server/engine/step_log.h"
#include "server/engine/step_task.h"

namespace stepd {

struct Work;

// What all sessions of a policy have in common.
struct SessionShape {
  std::int64_t fixed_step_bytes = -1;  // StepLayout::fixed_bytes()
  std::int64_t num_prefix_tokens = 0;  // PolicySpec::num_prefix_tokens
};

// What its actor made of a session between two resets, without what is cached
// of it.
struct SessionState {
  explicit SessionState(const SessionShape& shape)
      : log(shape.fixed_step_bytes), num_tokens(shape.num_prefix_tokens) {}

  std::int64_t num_steps() const { return log.num_steps(); }
  // First step of the context; earlier ones are forgotten.
  std::int64_t window_start() const { return log.first_step(); }

  std::uint64_t epoch = 0;
  // Encoded; nullptr if there are none. Forks share them.
  std::shared_ptr<const std::string> session_inputs;
  StepLog log;
  std::int64_t num_tokens;  // of the prefix and of the steps in the context
  // The last task and its reply; nullptr: it had no step index.
  std::unique_ptr<AnsweredTask> answered;
  ContextVersion version;
  // The log came from the journal, and no step was taken since.
  bool is_from_journal = false;
};

// Invariants: (1) the prefix tokens and the steps [window_start(),
// num_cached_steps) of the log are in `blocks` as its first num_cached_tokens
// tokens; (2) num_cached_tokens <= num_tokens, and they are equal when a
// session of at least one step is_cached(); (3) a session with queued work is
// in none of the table's lists.
struct Session : SessionState {
  Session(absl::string_view actor_id, const SessionShape& shape)
      : SessionState(shape), actor_id(actor_id) {}

  // Computed, not kept: there are many sessions.
  std::uint64_t actor_hash() const { return StableHash(actor_id); }

  bool is_cached() const { return num_cached_steps == log.num_steps(); }
  // What the blocks hold.
  ContextSpan cached() const {
    return {window_start(), num_cached_steps, num_cached_tokens};
  }

  bool is_open = false;  // counts against max_sessions
  // The journal was asked for it.
  bool is_looked_up = false;
  bool is_recent = false;  // owned by SessionTable

  const std::string actor_id;

  std::vector<std::int32_t> blocks;
  std::int64_t num_cached_steps = 0;
  std::int64_t num_cached_tokens = 0;
  // Of session_inputs; comes and goes with the blocks. The running task's
  // version made it, or else the context's.
  std::shared_ptr<const PreparedInputs> prepared_inputs;

  MonotonicTime last_use{};

  // Queued and running work of this actor, oldest first.
  Work* first_work = nullptr;
  Work* last_work = nullptr;

  // Owned by SessionTable.
  ListLink<Session> idle_link;
  ListLink<Session> resident_link;
};

// What the session's next step would be served from.
inline ServedFrom TierOf(const Session& session) {
  if (session.num_steps() == 0) return ServedFrom::kNew;
  if (session.is_from_journal) return ServedFrom::kJournal;
  return session.is_cached() ? ServedFrom::kCache : ServedFrom::kLog;
}

// The session's inputs, encoded; empty if there are none.
inline absl::string_view InputsOf(const Session& session) {
  return session.session_inputs == nullptr ? absl::string_view()
                                           : *session.session_inputs;
}

// The session without its cache, from `first_step` of its log on, which is at
// most its number of steps. `answered` is not part of it.
SessionRecord RecordFrom(const Session& session, std::int64_t first_step);

// All of its context, and its last answer.
SessionRecord RecordOf(const Session& session);

}  // namespace stepd

#endif  // STEPD_SERVER_ENGINE_SESSION_H_
