// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// How much memory this process may still take: the least of what the machine
// has and of what the process's control groups (v2 or v1) leave it.
//
// Thread safety: reentrant.

#ifndef STEPD_SERVER_REGISTRY_MEMORY_H_
#define STEPD_SERVER_REGISTRY_MEMORY_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace stepd {

// In bytes. Page cache that can be given back counts as available. Without
// /proc there is no limit. `root` is where /proc and /sys are looked for.
std::int64_t AvailableMemory(const std::string& root = "");

// Errors: kResourceExhausted  WEIGHTS_MEMORY: `what` needs `num_bytes`, and
//                             fewer are available
absl::Status CheckMemory(absl::string_view what, std::int64_t num_bytes,
                         std::int64_t available);

}  // namespace stepd

#endif  // STEPD_SERVER_REGISTRY_MEMORY_H_
