// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What else can be asked about sessions: plain data and a completion, as a
// StepTask is. What changes or copies a session takes its turn behind the steps
// that were sent before; what only looks at sessions (InspectTask, ListTask)
// does not wait, and does not count as use. Every `done` is called exactly
// once, from an executor's thread; it must not block.

#ifndef STEPD_SERVER_ENGINE_SESSION_TASK_H_
#define STEPD_SERVER_ENGINE_SESSION_TASK_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/engine/session_info.h"
#include "server/engine/session_record.h"
#include "server/engine/step_task.h"

namespace stepd {

// Empties an actor's session. An unknown actor is no error.
struct ResetTask {
  std::string actor_id;
  // Of the session that comes next: nothing is left to do when the actor's
  // session is of this epoch, or a later one. Absent: there is.
  std::optional<std::uint64_t> epoch;
  SessionEnd end = SessionEnd::kReset;
  absl::AnyInvocable<void(absl::Status)> done;
};

struct ForkResult {
  std::uint64_t epoch = 0;  // of the new sessions
  // Those that this call made; others were made when it came before.
  std::vector<std::string> made;
  // What a fork elsewhere begins with; nullptr unless it was wanted.
  std::shared_ptr<const SessionRecord> record;
  std::optional<KvPolicy> kv_policy;  // that the source's steps said
};

// Sessions for new actors that begin as copies of this actor's.
struct ForkTask {
  std::string actor_id;
  std::vector<std::string> forks;  // all different
  // Where the source is; absent: wherever it is.
  std::optional<std::uint64_t> source_epoch;
  std::optional<std::uint64_t> num_steps;
  // Of the new sessions; absent: the server's choice. A fork that is of this
  // epoch, and as long as the source, is made already: the call came twice.
  std::optional<std::uint64_t> epoch;
  bool wants_record = false;
  // Errors: kNotFound            SESSION_UNKNOWN: the source has no step
  //         kFailedPrecondition  STEP_INDEX: the source is elsewhere
  //         kAlreadyExists       SESSION_EXISTS: a fork has a session
  //         kResourceExhausted   SESSIONS_FULL
  absl::AnyInvocable<void(absl::StatusOr<ForkResult>)> done;
};

// Of a session in memory, as it is between two batches.
struct InspectTask {
  std::string actor_id;
  // Errors: kNotFound  SESSION_UNKNOWN
  absl::AnyInvocable<void(absl::StatusOr<SessionInfo>)> done;
};

struct ExportTask {
  std::string actor_id;
  // Errors: kNotFound  SESSION_UNKNOWN
  absl::AnyInvocable<void(absl::StatusOr<SessionRecord>)> done;
};

struct ImportTask {
  std::string actor_id;  // whatever name the record has
  std::shared_ptr<const SessionRecord> record;
  std::optional<std::uint64_t> epoch;  // absent: the record's
  // The epoch is the caller's own: a session of it, and as long as the record,
  // is the copy, made when the call came before. (Executors number sessions
  // each for itself, so an epoch of theirs proves nothing.)
  bool may_be_made = false;
  std::optional<KvPolicy> kv_policy;  // as if its steps had said so
  // Whether this call made it; false: it did when it came before.
  // Errors: kAlreadyExists      SESSION_EXISTS
  //         kInvalidArgument    RECORD
  //         kResourceExhausted  SESSIONS_FULL
  absl::AnyInvocable<void(absl::StatusOr<bool>)> done;
};

// Of all sessions in memory, in no order.
struct ListTask {
  std::string actor_prefix;
  std::int64_t max_sessions = 0;  // of each executor
  absl::AnyInvocable<void(absl::StatusOr<SessionList>)> done;
};

using Task = std::variant<StepTask, ResetTask, ForkTask, InspectTask,
                          ExportTask, ImportTask, ListTask>;

// Whose session it is about; empty: everybody's.
const std::string& ActorOf(const Task& task);

}  // namespace stepd

#endif  // STEPD_SERVER_ENGINE_SESSION_TASK_H_
