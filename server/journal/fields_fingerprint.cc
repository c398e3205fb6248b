// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/journal/fields_fingerprint.h"

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/common/stable_hash.h"

namespace stepd {
namespace {

std::string BoundText(const std::optional<std::int64_t>& bound) {
  return bound ? absl::StrCat(*bound) : "none";
}

// Names come with their size, so that no two lists have one text.
void AppendFields(const std::vector<FieldSpec>& fields, std::string* text) {
  absl::StrAppend(text, fields.size(), " fields\n");
  for (const FieldSpec& field : fields) {
    absl::StrAppend(
        text, field.name.size(), ":", field.name, " ", Name(field.dtype), " [",
        absl::StrJoin(field.shape, ","), "] ", BoundText(field.min), " ",
        BoundText(field.max), " ", field.required ? "required " : "optional ",
        field.same_length_as.size(), ":", field.same_length_as, "\n");
  }
}

}  // namespace

std::uint64_t FieldsFingerprint(const PolicySpec& spec) {
  std::string text;
  AppendFields(spec.fields, &text);
  AppendFields(spec.session_fields, &text);
  for (const OutputSpec& output : spec.outputs) {
    absl::StrAppend(&text, output.name.size(), ":", output.name, " [",
                    absl::StrJoin(output.shape, ","), "]\n");
  }
  absl::StrAppend(&text, spec.num_actions, " actions\n");
  return StableHash(text);
}

}  // namespace stepd
