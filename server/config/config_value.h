// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The texts of the configuration as values: "30s", "512MiB", "true".
//
// Thread safety: pure functions.
//
// Errors: all give kInvalidArgument saying what was wanted, without the key.

#ifndef STEPD_SERVER_CONFIG_CONFIG_VALUE_H_
#define STEPD_SERVER_CONFIG_CONFIG_VALUE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace stepd {

// "true" or "false".
absl::StatusOr<bool> ParseBool(absl::string_view text);

// A decimal integer of at least `min`.
absl::StatusOr<std::int64_t> ParseInteger(absl::string_view text,
                                          std::int64_t min);

// "0", "500us", "2ms", "1.5s", "10m", "24h"; at most a century. "none" is
// forever.
absl::StatusOr<absl::Duration> ParseDuration(absl::string_view text);

// Bytes: "4096", "512KiB", "16MiB", "2GiB"; at least 1.
absl::StatusOr<std::int64_t> ParseSize(absl::string_view text);

// A size for people: "2.0 GiB", "17.4 MiB", "512 B".
std::string FormatSize(std::int64_t bytes);

}  // namespace stepd

#endif  // STEPD_SERVER_CONFIG_CONFIG_VALUE_H_
