// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What one actor's session is, as docs/sessions.md has it, and what must become
// of the actor's next request.
//
// Thread safety: plain values and a pure function.

#ifndef STEPD_TESTS_SOAK_SOLO_SESSION_H_
#define STEPD_TESTS_SOAK_SOLO_SESSION_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>

#include "server/engine/step_task.h"
#include "tests/fakes/fake_task.h"
#include "tests/soak/step_request.h"

namespace stepd {

// The last request of a session and its reply.
struct SoloAnswer {
  std::uint64_t content = 0;
  std::uint64_t step_index = 0;
  StepReply reply;
};

// What there is of a session.
struct SoloSession {
  struct Kept {
    std::string step;
    std::int64_t num_tokens = 0;
    std::uint64_t version = 0;  // that made its keys
  };
  std::uint64_t epoch = 0;
  std::string inputs;
  std::int64_t num_steps = 0;
  std::int64_t begin = 0;              // of the context
  std::deque<Kept> context;            // its steps
  std::optional<SoloAnswer> answered;  // if it had an index
  std::optional<KvPolicy> kv_policy;   // that its steps said
  // The version that the context is of, 0 as long as nobody knows; and the
  // first rollout that may have decided it.
  std::uint64_t version = 0;
  std::size_t first_rollout = 0;
};

enum class Expected {
  kTaken,
  kBegins,  // taken, after the session that there was has ended
  kRepeated,
  kOutOfOrder,  // STEP_INDEX
  kUnknown,     // SESSION_UNKNOWN
};
inline Expected Expect(const StepRequest& request, const SoloSession& session) {
  const bool is_new = session.num_steps == 0;
  const bool is_later =
      request.epoch.has_value() && *request.epoch > session.epoch;
  if (is_new || is_later) {
    if (request.step_index.value_or(0) > 0) return Expected::kUnknown;
    return is_new ? Expected::kTaken : Expected::kBegins;
  }
  if (request.epoch.has_value() && *request.epoch < session.epoch) {
    return Expected::kOutOfOrder;
  }
  const auto num_steps = static_cast<std::uint64_t>(session.num_steps);
  if (request.step_index.value_or(num_steps) == num_steps) {
    return Expected::kTaken;
  }
  const bool is_last = session.answered.has_value() &&
                       session.answered->step_index == *request.step_index &&
                       session.answered->content == request.content;
  return is_last ? Expected::kRepeated : Expected::kOutOfOrder;
}

// Whatever a reply holds.
inline bool AreSame(const StepReply& a, const StepReply& b) {
  return a == b && a.epoch == b.epoch && a.served_from == b.served_from &&
         a.model_version == b.model_version &&
         a.context_version_min == b.context_version_min &&
         a.context_version_max == b.context_version_max;
}

}  // namespace stepd

#endif  // STEPD_TESTS_SOAK_SOLO_SESSION_H_
