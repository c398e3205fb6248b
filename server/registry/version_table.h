// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The versions of the weights that are known, and the labels that name them.
//
// Thread safety: thread-safe. One thread changes it; any may look.

#ifndef STEPD_SERVER_REGISTRY_VERSION_TABLE_H_
#define STEPD_SERVER_REGISTRY_VERSION_TABLE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "server/common/mutex.h"
#include "server/engine/served_version.h"
#include "server/registry/registry_observer.h"
#include "server/registry/version_source.h"

namespace stepd {

inline constexpr char kStable[] = "stable";
inline constexpr char kCanary[] = "canary";
inline constexpr char kLatest[] = "latest";

enum class VersionOrigin { kStartedWith, kRepository, kPushed };

// A version as people see it.
struct VersionInfo {
  std::uint64_t version = 0;
  VersionOrigin origin = VersionOrigin::kStartedWith;
  std::vector<std::string> labels;
  bool is_loaded = false;
  std::int64_t num_sessions = 0;  // whose context it made
  absl::Time since;               // when it became known
  double canary_share = 0.0;      // with label kCanary
};

struct Version {
  VersionOrigin origin = VersionOrigin::kStartedWith;
  absl::Time since;
  std::shared_ptr<const VersionSource> source;  // nullptr: not opened
  std::shared_ptr<ServedVersion> served;        // nullptr: not in memory
};

struct Labels {
  std::map<std::string, std::uint64_t> versions;  // by label
  double canary_share = 0.0;

  // 0: the label names none.
  std::uint64_t Find(const std::string& label) const;
  bool Name(std::uint64_t number) const;
};

class VersionTable {
 public:
  void Add(std::uint64_t number, Version version) ABSL_LOCKS_EXCLUDED(mu_);
  // nullopt: not known.
  std::optional<Version> Find(std::uint64_t number) const
      ABSL_LOCKS_EXCLUDED(mu_);
  // REQUIRES: the version is known.
  void SetSource(std::uint64_t number,
                 std::shared_ptr<const VersionSource> source)
      ABSL_LOCKS_EXCLUDED(mu_);
  void SetServed(std::uint64_t number, std::shared_ptr<ServedVersion> served)
      ABSL_LOCKS_EXCLUDED(mu_);
  void Forget(std::uint64_t number) ABSL_LOCKS_EXCLUDED(mu_);

  Labels labels() const ABSL_LOCKS_EXCLUDED(mu_);
  void SetLabels(const Labels& labels) ABSL_LOCKS_EXCLUDED(mu_);
  // What kStable named before what it names; 0: nothing.
  std::uint64_t last_stable() const ABSL_LOCKS_EXCLUDED(mu_);

  // 0: none is known.
  std::uint64_t Newest() const ABSL_LOCKS_EXCLUDED(mu_);
  // In memory.
  std::vector<LoadedVersion> Loaded() const ABSL_LOCKS_EXCLUDED(mu_);
  // Some are in memory only until their sessions leave.
  bool HasLeaving() const ABSL_LOCKS_EXCLUDED(mu_);
  // The newest first.
  std::vector<VersionInfo> List() const ABSL_LOCKS_EXCLUDED(mu_);

  // What nothing needs any more: no label names it and no executor runs it. It
  // stays known if it can be loaded again: from its files, or because it is the
  // newest or the last stable one. Its memory is given back with the result.
  std::vector<Version> TakeUnneeded() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  bool IsNeeded(std::uint64_t number, const Version& version) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  mutable Mutex mu_;
  std::map<std::uint64_t, Version> versions_ ABSL_GUARDED_BY(mu_);
  Labels labels_ ABSL_GUARDED_BY(mu_);
  std::uint64_t last_stable_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace stepd

#endif  // STEPD_SERVER_REGISTRY_VERSION_TABLE_H_
