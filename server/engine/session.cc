// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/session.h"

#include <string>

namespace stepd {

SessionRecord RecordFrom(const Session& session, std::int64_t first_step) {
  SessionRecord record;
  record.actor_id = session.actor_id;
  record.epoch = session.epoch;
  record.session_inputs = std::string(InputsOf(session));
  record.first_step = static_cast<std::uint64_t>(first_step);
  for (std::int64_t i = first_step; i < session.num_steps(); ++i) {
    record.steps.Append(session.log[i]);
  }
  return record;
}

SessionRecord RecordOf(const Session& session) {
  SessionRecord record = RecordFrom(session, session.window_start());
  if (session.answered != nullptr) record.answered = *session.answered;
  return record;
}

}  // namespace stepd
