// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What the registry tells the outside about the versions in service.

#ifndef STEPD_SERVER_REGISTRY_REGISTRY_OBSERVER_H_
#define STEPD_SERVER_REGISTRY_REGISTRY_OBSERVER_H_

#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace stepd {

// A version in memory.
struct LoadedVersion {
  std::uint64_t version = 0;
  std::int64_t num_sessions = 0;  // whose context it made
};

// Thread safety: called by the registry's thread only; must not block.
class RegistryObserver {
 public:
  virtual ~RegistryObserver() = default;
  // Versions were rolled out; loading and all took so long.
  virtual void OnRollOut(std::uint64_t stable, absl::Duration duration) = 0;
  // A change was refused for this reason (docs/errors.md).
  virtual void OnChangeRefused(absl::string_view reason) = 0;
  // All that are in memory; now and then.
  virtual void OnLoadedVersions(const std::vector<LoadedVersion>& versions) = 0;
};

}  // namespace stepd

#endif  // STEPD_SERVER_REGISTRY_REGISTRY_OBSERVER_H_
