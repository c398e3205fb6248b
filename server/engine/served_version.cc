// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/served_version.h"

namespace stepd {
namespace {

// Executors are chosen by the hash itself, so shares mix it first (the
// finaliser of MurmurHash3).
std::uint64_t Mix(std::uint64_t x) {
  x = (x ^ (x >> 33)) * 0xff51afd7ed558ccd;
  x = (x ^ (x >> 33)) * 0xc4ceb9fe1a85ec53;
  return x ^ (x >> 33);
}

}  // namespace

const ServedVersion* Rollout::Find(std::uint64_t number) const {
  for (const std::shared_ptr<ServedVersion>& version : versions) {
    if (version->number() == number) return version.get();
  }
  return nullptr;
}

bool IsInShare(std::uint64_t actor_hash, double share) {
  // 53 bits: all that a double holds, and less than 1.
  const double place = static_cast<double>(Mix(actor_hash) >> 11) * 0x1p-53;
  return place < share;
}

std::uint64_t ChooseVersion(const Rollout& rollout, std::uint64_t actor_hash,
                            const VersionWish& wish) {
  if (!wish.label.empty()) {
    const auto labelled = rollout.labels.find(wish.label);
    const bool is_known = labelled != rollout.labels.end() &&
                          labelled->second >= wish.min_version;
    return is_known ? labelled->second : 0;
  }
  const bool is_canary =
      rollout.canary != 0 && IsInShare(actor_hash, rollout.canary_share);
  const std::uint64_t routed = is_canary ? rollout.canary : rollout.stable;
  if (routed >= wish.min_version) return routed;
  for (const std::uint64_t other : {rollout.stable, rollout.canary}) {
    if (other != 0 && other >= wish.min_version) return other;
  }
  return 0;
}

}  // namespace stepd
