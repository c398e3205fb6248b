// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/admission.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "server/common/error.h"

namespace stepd {

absl::Status CheckWanted(const StepTask& task, MonotonicTime now) {
  if (task.is_cancelled != nullptr &&
      task.is_cancelled->load(std::memory_order_acquire)) {
    return Error(absl::StatusCode::kCancelled, reason::kCancelled,
                 "cancelled before it ran");
  }
  if (task.deadline <= now) {
    return Error(absl::StatusCode::kDeadlineExceeded, reason::kDeadline,
                 "the deadline passed before it ran");
  }
  return absl::OkStatus();
}

Admission::Admission(const PolicySpec& spec, const Slicer& slicer,
                     const ContextLimits& limits, const SessionBlocks& blocks)
    : spec_(spec),
      slicer_(slicer),
      session_layout_(spec.session_fields),
      limits_(limits),
      blocks_(blocks) {}

absl::Status Admission::Check(const Work& work) const {
  const absl::Status status = CheckSessionInputs(work);
  return status.ok() ? CheckLimits(work) : status;
}

// Only the task that opens a session gives its inputs, and all that the policy
// requires.
absl::Status Admission::CheckSessionInputs(const Work& work) const {
  const std::vector<FieldSpec>& fields = spec_.session_fields;
  if (fields.empty()) return absl::OkStatus();
  const std::string& inputs = std::get<StepTask>(work.task).session_inputs;
  if (work.session->num_steps() == 0) {
    if (!inputs.empty()) return absl::OkStatus();
    const auto missing =
        std::find_if(fields.begin(), fields.end(),
                     [](const FieldSpec& field) { return field.required; });
    if (missing == fields.end()) return absl::OkStatus();
    return Error(
        absl::StatusCode::kInvalidArgument, reason::kFieldMissing,
        absl::StrCat("session input \"", missing->name,
                     "\": the step that opens a session must give it"),
        {{"field", missing->name}, {"got", "nothing"}, {"want", "a tensor"}});
  }
  if (inputs.empty()) return absl::OkStatus();
  std::vector<FieldValue> values(fields.size());
  session_layout_.Decode(inputs, absl::MakeSpan(values));
  const auto given =
      std::find_if(values.begin(), values.end(),
                   [](const FieldValue& value) { return value.is_present(); });
  const std::string& name =
      fields[static_cast<std::size_t>(given - values.begin())].name;
  return Error(
      absl::StatusCode::kFailedPrecondition, reason::kSessionInputs,
      absl::StrCat("session input \"", name, "\": the session has ",
                   work.session->num_steps(), " steps already: reset it first"),
      {{"field", name}});
}

absl::Status Admission::CheckLimits(const Work& work) const {
  const std::int64_t steps = slicer_.ContextSteps(work);
  const std::int64_t tokens = slicer_.MostTokens(work);
  if (!limits_.rebuilds() && steps > limits_.max_steps) {
    return Error(
        absl::StatusCode::kFailedPrecondition, reason::kContextFull,
        absl::StrCat("the session would have ", steps, " steps; the limit is ",
                     limits_.max_steps, ": reset it"));
  }
  if (spec_.max_tokens > 0 && tokens > spec_.max_tokens) {
    return Error(absl::StatusCode::kFailedPrecondition, reason::kContextFull,
                 absl::StrCat("the session would have ", tokens,
                              " tokens; the policy can tell ", spec_.max_tokens,
                              " positions apart: reset the session"));
  }
  const std::int64_t num_blocks = blocks_.BlocksFor(tokens);
  if (num_blocks > blocks_.pool().num_blocks()) {
    return Error(absl::StatusCode::kResourceExhausted, reason::kCacheFull,
                 absl::StrCat("the session would need ", num_blocks,
                              " KV blocks; the whole cache has ",
                              blocks_.pool().num_blocks()));
  }
  return absl::OkStatus();
}

}  // namespace stepd
