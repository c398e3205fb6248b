// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/observer.h"

#include <cstdlib>

namespace stepd {

absl::string_view Name(FireReason reason) {
  switch (reason) {
    case FireReason::kIdle:
      return "idle";
    case FireReason::kAllArrived:
      return "all_arrived";
    case FireReason::kFull:
      return "full";
    case FireReason::kWaited:
      return "waited";
    case FireReason::kDeadline:
      return "deadline";
    case FireReason::kDraining:
      return "draining";
  }
  std::abort();
}

absl::string_view Name(SessionEnd end) {
  switch (end) {
    case SessionEnd::kExpired:
      return "expired";
    case SessionEnd::kEvictedBlocks:
      return "evicted_blocks";
    case SessionEnd::kReset:
      return "reset";
    case SessionEnd::kClosed:
      return "closed";
    case SessionEnd::kEphemeral:
      return "ephemeral";
    case SessionEnd::kStored:
      return "stored";
    case SessionEnd::kTakenOver:
      return "taken_over";
  }
  std::abort();
}

}  // namespace stepd
