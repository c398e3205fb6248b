// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/service/invalid.h"

#include "absl/strings/str_cat.h"
#include "server/common/error.h"

namespace stepd {

absl::Status Invalid(absl::string_view reason, absl::string_view field,
                     const std::string& got, const std::string& want) {
  return Error(absl::StatusCode::kInvalidArgument, reason,
               absl::StrCat(field, ": got ", got, ", want ", want),
               {{"field", std::string(field)}, {"got", got}, {"want", want}});
}

std::string Excerpt(absl::string_view text, std::size_t max_bytes) {
  if (text.size() <= max_bytes) return std::string(text);
  std::size_t end = max_bytes;
  while (end > 0 && (text[end] & 0xC0) == 0x80) --end;
  return absl::StrCat(text.substr(0, end), "...");
}

}  // namespace stepd
