// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/step_order.h"

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "server/common/error.h"
#include "server/common/stable_hash.h"

namespace stepd {
namespace {

absl::Status SessionUnknown(const StepTask& task) {
  return Error(
      absl::StatusCode::kNotFound, reason::kSessionUnknown,
      absl::StrCat("step ", *task.step_index, " of actor \"", task.actor_id,
                   "\": the server has none of the steps before it"),
      {{"expected", "0"}});
}

absl::Status OutOfOrder(const Session& session, const std::string& message) {
  return Error(absl::StatusCode::kFailedPrecondition, reason::kStepIndex,
               message,
               {{"expected", absl::StrCat(session.num_steps())},
                {"epoch", absl::StrCat(session.epoch)}});
}

absl::Status EpochOver(const Session& session, std::uint64_t epoch) {
  return OutOfOrder(session, absl::StrCat("epoch ", epoch,
                                          " is over: the session is in epoch ",
                                          session.epoch));
}

absl::Status NotNext(const Session& session, std::uint64_t step_index) {
  return OutOfOrder(session, absl::StrCat("step ", step_index,
                                          " does not follow: the session has ",
                                          session.num_steps(), " steps"));
}

}  // namespace

absl::StatusOr<StepOrder> OrderOf(const StepTask& task,
                                  const Session& session) {
  const bool is_new = session.num_steps() == 0;
  const bool begins_epoch =
      is_new || (task.epoch.has_value() && *task.epoch > session.epoch);
  if (begins_epoch) {
    if (task.step_index.value_or(0) > 0) return SessionUnknown(task);
    return is_new ? StepOrder::kNext : StepOrder::kNewEpoch;
  }
  if (task.epoch.has_value() && *task.epoch < session.epoch) {
    return EpochOver(session, *task.epoch);
  }
  if (!task.step_index.has_value()) return StepOrder::kNext;
  const std::uint64_t index = *task.step_index;
  const auto expected = static_cast<std::uint64_t>(session.num_steps());
  if (index == expected) return StepOrder::kNext;
  const AnsweredTask* answered = session.answered.get();
  if (answered == nullptr || answered->step_index != index) {
    return NotNext(session, index);
  }
  if (answered->content_hash != ContentHash(task, task.session_inputs)) {
    return OutOfOrder(
        session, absl::StrCat("step ", index,
                              " was answered already, and had other content"));
  }
  return StepOrder::kRepeated;
}

absl::Status CheckWhere(const Session& session,
                        const std::optional<std::uint64_t>& epoch,
                        const std::optional<std::uint64_t>& num_steps) {
  const auto has = static_cast<std::uint64_t>(session.num_steps());
  if (has == 0 || epoch.value_or(0) > session.epoch) {
    return Error(
        absl::StatusCode::kNotFound, reason::kSessionUnknown,
        absl::StrCat("actor \"", session.actor_id, "\" has no such session"),
        {{"expected", "0"}});
  }
  if (epoch.value_or(session.epoch) < session.epoch) {
    return EpochOver(session, *epoch);
  }
  if (num_steps.value_or(has) != has) return NotNext(session, *num_steps);
  return absl::OkStatus();
}

std::uint64_t ContentHash(const StepTask& task,
                          absl::string_view session_inputs) {
  const absl::string_view mask(
      reinterpret_cast<const char*>(task.action_mask.data()),
      task.action_mask.size());
  std::string text = absl::StrCat(
      StableHash(mask), " ", StableHash(task.steps.all()), " ",
      task.steps.size(), " ", StableHash(session_inputs), " ", task.outputs,
      " ", static_cast<int>(task.boundary), task.answer_all_steps,
      task.answers_nothing, task.is_ephemeral);
  AppendContent(task.sampling, &text);
  return StableHash(text);
}

}  // namespace stepd
