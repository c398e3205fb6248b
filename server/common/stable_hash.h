// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// A hash of an actor's name that is the same in every process and on every
// machine: it decides which executor owns the actor and which random numbers
// it draws, so it must never change.
//
// Source: FNV-1a, 64 bits (Fowler, Noll, Vo; draft-eastlake-fnv), followed by
// the finaliser of SplitMix64 (Steele, Lea, Flood 2014), because FNV's low
// bits alone would spread names over executors unevenly.
//
// Thread safety: pure function.

#ifndef STEPD_SERVER_COMMON_STABLE_HASH_H_
#define STEPD_SERVER_COMMON_STABLE_HASH_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace stepd {

std::uint64_t StableHash(absl::string_view text);

}  // namespace stepd

#endif  // STEPD_SERVER_COMMON_STABLE_HASH_H_
