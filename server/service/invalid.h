// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The error of a request that says something impossible.
//
// Thread safety: pure functions.

#ifndef STEPD_SERVER_SERVICE_INVALID_H_
#define STEPD_SERVER_SERVICE_INVALID_H_

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"

namespace stepd {

// kInvalidArgument with `reason` and metadata field, got and want.
absl::Status Invalid(absl::string_view reason, absl::string_view field,
                     const std::string& got, const std::string& want);

// The start of a text, for an error; still UTF-8. What the wire gives has no
// end, and a status travels in headers, which are bounded.
std::string Excerpt(absl::string_view text, std::size_t max_bytes = 64);

// "one of a, b, c": the names of `items`.
template <typename Items>
std::string OneOf(const Items& items) {
  const std::string names = absl::StrJoin(
      items, ", ",
      [](std::string* out, const auto& item) { out->append(item.name); });
  return absl::StrCat("one of ", Excerpt(names, 512));
}

}  // namespace stepd

#endif  // STEPD_SERVER_SERVICE_INVALID_H_
