// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/context.h"

#include <algorithm>

#include "absl/status/status.h"

namespace stepd {

absl::StatusOr<std::int64_t> WindowSteps(const PolicySpec& spec) {
  const std::int64_t reach = spec.reach();
  if (reach < 0) {
    return absl::InvalidArgumentError(
        "the policy sees its whole context: not every layer's attention has a "
        "window (`stepd inspect` shows which)");
  }
  const std::int64_t least = std::max(1, spec.min_tokens_per_step);
  return 1 + (reach + least - 1) / least;
}

}  // namespace stepd
