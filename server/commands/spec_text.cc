// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/commands/spec_text.h"

#include <cstdint>
#include <vector>

#include "absl/strings/str_cat.h"

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

std::string TokensText(const PolicySpec& spec) {
  if (spec.min_tokens_per_step == spec.max_tokens_per_step) {
    return absl::StrCat(spec.max_tokens_per_step);
  }
  return absl::StrCat(spec.min_tokens_per_step, " to ",
                      spec.max_tokens_per_step);
}

}  // namespace stepd
