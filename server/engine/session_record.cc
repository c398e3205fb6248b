// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/session_record.h"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/policy_spec.h"
#include "model/step.h"
#include "server/common/error.h"

namespace stepd {
namespace {

absl::Status BadRecord(const std::string& what) {
  return Error(absl::StatusCode::kInvalidArgument, reason::kRecord, what);
}

// NaN and infinities may have been let in (inputs.nan), and harm nobody else.
bool IsInRange(const FieldSpec& field, const FieldValue& value) {
  if (field.dtype != DType::kInt64) return true;
  constexpr std::int64_t kMin = std::numeric_limits<std::int64_t>::min();
  constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
  for (std::int64_t i = 0; i < value.count; ++i) {
    const std::int64_t x = LoadInt64(value, i);
    if (x < field.min.value_or(kMin) || x > field.max.value_or(kMax)) {
      return false;
    }
  }
  return true;
}

// Decodes `encoded` as one entry of each field; `what` names it.
absl::Status CheckEncoding(const std::vector<FieldSpec>& fields,
                           const StepLayout& layout, absl::string_view encoded,
                           const std::string& what) {
  std::vector<FieldValue> values(fields.size());
  if (!layout.Decode(encoded, absl::MakeSpan(values))) {
    return BadRecord(
        absl::StrCat(what, ": no encoding of the policy's fields"));
  }
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (values[i].is_present() && !IsInRange(fields[i], values[i])) {
      return BadRecord(
          absl::StrCat(what, ", field \"", fields[i].name, "\": out of range"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckInputs(const SessionRecord& record, const Policy& policy) {
  const PolicySpec& spec = policy.spec();
  if (record.session_inputs.empty()) {
    for (const FieldSpec& field : spec.session_fields) {
      if (!field.required) continue;
      return BadRecord(
          absl::StrCat("session input \"", field.name, "\" is missing"));
    }
    return absl::OkStatus();
  }
  absl::Status status =
      CheckEncoding(spec.session_fields, StepLayout(spec.session_fields),
                    record.session_inputs, "session inputs");
  if (!status.ok()) return status;
  status = policy.CheckSessionInputs(record.session_inputs);
  return status.ok() ? status : BadRecord(std::string(status.message()));
}

}  // namespace

absl::StatusOr<std::int64_t> CheckRecord(const SessionRecord& record,
                                         const Policy& policy) {
  const PolicySpec& spec = policy.spec();
  if (record.steps.empty()) return BadRecord("a session has at least one step");
  absl::Status status = CheckInputs(record, policy);
  if (!status.ok()) return status;
  const StepLayout layout(spec.fields);
  std::int64_t num_tokens = spec.num_prefix_tokens;
  for (std::size_t i = 0; i < record.steps.size(); ++i) {
    const std::string what = absl::StrCat("step ", record.first_step + i);
    status = CheckEncoding(spec.fields, layout, record.steps[i], what);
    if (!status.ok()) return status;
    const absl::StatusOr<int> tokens = policy.CountTokens(record.steps[i]);
    if (!tokens.ok()) {
      return BadRecord(absl::StrCat(what, ": ", tokens.status().message()));
    }
    num_tokens += *tokens;
  }
  return num_tokens;
}

}  // namespace stepd
