// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/registry/version_table.h"

#include <utility>

namespace stepd {

std::uint64_t Labels::Find(const std::string& label) const {
  const auto found = versions.find(label);
  return found == versions.end() ? 0 : found->second;
}

bool Labels::Name(std::uint64_t number) const {
  for (const auto& [label, named] : versions) {
    if (named == number) return true;
  }
  return false;
}

void VersionTable::Add(std::uint64_t number, Version version) {
  MutexLock lock(&mu_);
  versions_[number] = std::move(version);
}

std::optional<Version> VersionTable::Find(std::uint64_t number) const {
  MutexLock lock(&mu_);
  const auto found = versions_.find(number);
  if (found == versions_.end()) return std::nullopt;
  return found->second;
}

void VersionTable::SetSource(std::uint64_t number,
                             std::shared_ptr<const VersionSource> source) {
  MutexLock lock(&mu_);
  versions_.at(number).source = std::move(source);
}

void VersionTable::SetServed(std::uint64_t number,
                             std::shared_ptr<ServedVersion> served) {
  MutexLock lock(&mu_);
  versions_.at(number).served = std::move(served);
}

void VersionTable::Forget(std::uint64_t number) {
  Version gone;  // its memory is given back without the lock
  MutexLock lock(&mu_);
  const auto found = versions_.find(number);
  if (found == versions_.end()) return;
  gone = std::move(found->second);
  versions_.erase(found);
}

Labels VersionTable::labels() const {
  MutexLock lock(&mu_);
  return labels_;
}

void VersionTable::SetLabels(const Labels& labels) {
  MutexLock lock(&mu_);
  const std::uint64_t stable = labels_.Find(kStable);
  if (stable != labels.Find(kStable)) last_stable_ = stable;
  labels_ = labels;
}

std::uint64_t VersionTable::last_stable() const {
  MutexLock lock(&mu_);
  return last_stable_;
}

std::uint64_t VersionTable::Newest() const {
  MutexLock lock(&mu_);
  return versions_.empty() ? 0 : versions_.rbegin()->first;
}

std::vector<LoadedVersion> VersionTable::Loaded() const {
  std::vector<LoadedVersion> loaded;
  MutexLock lock(&mu_);
  for (const auto& [number, version] : versions_) {
    if (version.served == nullptr) continue;
    loaded.push_back({number, version.served->tally()->num_sessions.load()});
  }
  return loaded;
}

bool VersionTable::HasLeaving() const {
  MutexLock lock(&mu_);
  for (const auto& [number, version] : versions_) {
    if (version.served != nullptr && !labels_.Name(number)) return true;
  }
  return false;
}

std::vector<VersionInfo> VersionTable::List() const {
  std::vector<VersionInfo> list;
  MutexLock lock(&mu_);
  for (auto entry = versions_.rbegin(); entry != versions_.rend(); ++entry) {
    const Version& version = entry->second;
    VersionInfo info;
    info.version = entry->first;
    info.origin = version.origin;
    info.since = version.since;
    info.is_loaded = version.served != nullptr;
    if (info.is_loaded) {
      info.num_sessions = version.served->tally()->num_sessions.load();
    }
    for (const auto& [label, number] : labels_.versions) {
      if (number == info.version) info.labels.push_back(label);
    }
    if (labels_.Find(kCanary) == info.version) {
      info.canary_share = labels_.canary_share;
    }
    list.push_back(std::move(info));
  }
  return list;
}

bool VersionTable::IsNeeded(std::uint64_t number,
                            const Version& version) const {
  return labels_.Name(number) ||
         (version.served != nullptr && version.served->num_executors() > 0);
}

std::vector<Version> VersionTable::TakeUnneeded() {
  std::vector<Version> taken;
  MutexLock lock(&mu_);
  for (auto next = versions_.begin(); next != versions_.end();) {
    const auto entry = next++;
    Version& version = entry->second;
    if (IsNeeded(entry->first, version)) continue;
    const bool is_kept = version.origin != VersionOrigin::kPushed ||
                         entry->first == last_stable_ ||
                         entry->first == versions_.rbegin()->first;
    taken.push_back(version);
    version.served = nullptr;
    // A repository's is opened again when it is wanted.
    if (version.origin == VersionOrigin::kRepository) version.source = nullptr;
    if (!is_kept) versions_.erase(entry);
  }
  return taken;
}

}  // namespace stepd
