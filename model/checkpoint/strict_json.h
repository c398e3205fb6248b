// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// JSON from files that nobody vouches for: an object at the top, no key twice,
// no deep nesting, no exceptions.
//
// Thread safety: reentrant.

#ifndef STEPD_MODEL_CHECKPOINT_STRICT_JSON_H_
#define STEPD_MODEL_CHECKPOINT_STRICT_JSON_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace stepd::checkpoint {

// Errors: kInvalidArgument  what is wrong and where in `text`; the caller adds
//                           the file
absl::StatusOr<nlohmann::json> ParseStrictJson(absl::string_view text);

}  // namespace stepd::checkpoint

#endif  // STEPD_MODEL_CHECKPOINT_STRICT_JSON_H_
