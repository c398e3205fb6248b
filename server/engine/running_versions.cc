// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/running_versions.h"

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/common/error.h"

namespace stepd {

void VersionRange::Extend(std::uint64_t number,
                          std::int64_t num_cached_tokens) {
  if (num_cached_tokens == 0) *this = {number, number};
  min = std::min(min, number);
  max = std::max(max, number);
}

RunningVersions::RunningVersions(std::shared_ptr<ServedVersion> version,
                                 std::unique_ptr<PolicyRunner> runner,
                                 KvPolicy kv_policy, bool are_all_held)
    : kv_policy_(kv_policy), are_all_held_(are_all_held) {
  auto rollout = std::make_shared<Rollout>();
  rollout->stable = version->number();
  rollout->versions.push_back(std::move(version));
  std::vector<std::unique_ptr<PolicyRunner>> runners;
  runners.push_back(std::move(runner));
  RollOut(std::move(rollout), std::move(runners));
}

RunningVersions::~RunningVersions() {
  for (const auto& version : versions_) {
    version->served->RemoveExecutor(std::move(version->runner));
  }
}

void RunningVersions::RollOut(
    std::shared_ptr<const Rollout> rollout,
    std::vector<std::unique_ptr<PolicyRunner>> runners) {
  for (const auto& version : versions_) version->is_offered = false;
  for (std::size_t i = 0; i < rollout->versions.size(); ++i) {
    const std::shared_ptr<ServedVersion>& served = rollout->versions[i];
    RunningVersion* version = Find(served->number());
    if (version == nullptr) {
      assert(runners[i] != nullptr);
      versions_.push_back(std::make_unique<RunningVersion>());
      version = versions_.back().get();
      version->served = served;
      version->runner = std::move(runners[i]);
      served->AddExecutor();
    }
    version->is_offered = true;
  }
  rollout_ = std::move(rollout);
  stable_ = Find(rollout_->stable);
  assert(stable_ != nullptr);
  FreeUnused();
}

absl::StatusOr<RunningVersion*> RunningVersions::Choose(
    const ContextVersion& context, std::uint64_t actor_hash,
    const VersionWish& wish, bool begins_context) const {
  const auto error = [](const auto&... parts) {
    return Error(absl::StatusCode::kFailedPrecondition, reason::kModelVersion,
                 absl::StrCat(parts...));
  };
  const bool is_pinned = KvPolicyOf(context, wish) == KvPolicy::kPin;
  if (is_pinned && context.held != nullptr && !begins_context) {
    if (context.number() >= wish.min_version) return context.held;
    return error("the session's context is of version ", context.number(),
                 ", the step wants at least ", wish.min_version,
                 ": reset the session");
  }
  const std::uint64_t number = ChooseVersion(*rollout_, actor_hash, wish);
  if (number != 0) return Find(number);
  if (!wish.label.empty() && rollout_->labels.count(wish.label) == 0) {
    return error("no version has the label \"", wish.label, "\"");
  }
  return nullptr;
}

void RunningVersions::Use(RunningVersion* version, RunningVersion** use) {
  if (*use == version) return;
  if (version != nullptr) ++version->num_uses;
  RunningVersion* old = std::exchange(*use, version);
  if (old != nullptr && --old->num_uses == 0 && !old->is_offered) FreeUnused();
}

void RunningVersions::Join(RunningVersion* version, ContextVersion* context) {
  if (context->tally != version->served->tally()) {
    Leave(context);
    context->tally = version->served->tally();
    context->tally->num_sessions.fetch_add(1, std::memory_order_relaxed);
  }
  const bool is_held = are_all_held_ || KvPolicyOf(*context) == KvPolicy::kPin;
  Use(is_held ? version : nullptr, &context->held);
}

void RunningVersions::Copy(const ContextVersion& source, ContextVersion* copy) {
  assert(copy->tally == nullptr);
  copy->tally = source.tally;
  copy->cached = source.cached;
  copy->kv_policy = source.kv_policy;
  if (copy->tally == nullptr) return;
  copy->tally->num_sessions.fetch_add(1, std::memory_order_relaxed);
  if (source.held != nullptr) Use(source.held, &copy->held);
}

void RunningVersions::Leave(ContextVersion* context) {
  if (context->tally == nullptr) return;
  context->tally->num_sessions.fetch_sub(1, std::memory_order_relaxed);
  context->tally = nullptr;
  Use(nullptr, &context->held);
}

RunningVersion* RunningVersions::Find(std::uint64_t number) const {
  for (const auto& version : versions_) {
    if (version->number() == number) return version.get();
  }
  return nullptr;
}

void RunningVersions::FreeUnused() {
  const auto is_left = [](const std::unique_ptr<RunningVersion>& version) {
    if (version->is_offered || version->num_uses > 0) return false;
    version->served->RemoveExecutor(std::move(version->runner));
    return true;
  };
  versions_.erase(std::remove_if(versions_.begin(), versions_.end(), is_left),
                  versions_.end());
}

}  // namespace stepd
