// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/commands/spec_text.h"

#include <cstdint>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace stepd {
namespace {

std::string ShapeText(const std::vector<std::int64_t>& shape) {
  std::string text;
  for (const std::int64_t size : shape) {
    absl::StrAppend(&text, text.empty() ? "" : ", ",
                    size < 0 ? "any" : absl::StrCat(size));
  }
  return text.empty() ? "" : absl::StrCat("[", text, "]");
}

}  // namespace

std::string FieldsText(const std::vector<FieldSpec>& fields) {
  std::string text;
  for (const FieldSpec& field : fields) {
    absl::StrAppend(&text, text.empty() ? "" : ", ", field.name,
                    field.required ? " " : "? ", Name(field.dtype),
                    ShapeText(field.shape));
    if (!field.value_names.empty()) {
      absl::StrAppend(&text, " (", absl::StrJoin(field.value_names, " | "),
                      ")");
    }
  }
  return text;
}

std::string OutputsText(const PolicySpec& spec) {
  std::string text;
  for (const OutputSpec& output : spec.outputs) {
    absl::StrAppend(&text, text.empty() ? "" : ", ", output.name,
                    ShapeText(output.shape));
  }
  return text;
}

std::string ActionsText(const PolicySpec& spec) {
  if (spec.num_actions == 0) return "outputs, no actions";
  return absl::StrCat(spec.num_actions, " actions by ", spec.action_head);
}

std::string TokensText(const PolicySpec& spec) {
  if (spec.max_tokens_per_step < 0) {
    return absl::StrCat(spec.min_tokens_per_step, " or more");
  }
  if (spec.min_tokens_per_step == spec.max_tokens_per_step) {
    return absl::StrCat(spec.max_tokens_per_step);
  }
  return absl::StrCat(spec.min_tokens_per_step, " to ",
                      spec.max_tokens_per_step);
}

}  // namespace stepd
