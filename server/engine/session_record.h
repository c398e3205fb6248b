// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// A session without its cache: what Export gives and Import takes, what a fork
// on another executor begins with, and what a journal keeps.
//
// Thread safety: plain values.

#ifndef STEPD_SERVER_ENGINE_SESSION_RECORD_H_
#define STEPD_SERVER_ENGINE_SESSION_RECORD_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "model/policy.h"
#include "server/engine/encoded_steps.h"
#include "server/engine/step_task.h"

namespace stepd {

// The last task of a session that had a step index, and its reply: a retry of
// it is answered with the same bits and changes nothing.
struct AnsweredTask {
  std::uint64_t step_index = 0;    // of its first step
  std::uint64_t content_hash = 0;  // ContentHash() of the task
  StepReply reply;
};

struct SessionRecord {
  std::string actor_id;
  std::uint64_t epoch = 0;
  std::string session_inputs;  // encoded; empty if there are none
  // The steps of the context, encoded. Earlier ones are forgotten.
  std::uint64_t first_step = 0;  // index of steps[0]
  EncodedSteps steps;
  std::optional<AnsweredTask> answered;

  std::uint64_t num_steps() const { return first_step + steps.size(); }
};

// Tokens of its context, prefix included, if `policy` can go on from there.
// Nothing in a record is trusted.
// Errors: kInvalidArgument  RECORD: no step; a step or session inputs that are
//                           no encoding of the policy's fields, or out of
//                           their range; the message says which
absl::StatusOr<std::int64_t> CheckRecord(const SessionRecord& record,
                                         const Policy& policy);

}  // namespace stepd

#endif  // STEPD_SERVER_ENGINE_SESSION_RECORD_H_
