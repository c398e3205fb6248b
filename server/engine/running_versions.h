// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The versions of the weights that one executor runs: those that contexts may
// begin under, and older ones until the last session with a context of theirs
// leaves. Their runners share one KV memory, so a block is any version's.
//
// Thread safety: none; one executor owns it.

#ifndef STEPD_SERVER_ENGINE_RUNNING_VERSIONS_H_
#define STEPD_SERVER_ENGINE_RUNNING_VERSIONS_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "model/policy.h"
#include "server/engine/served_version.h"
#include "server/engine/step_task.h"

namespace stepd {

// The weights that made the keys of a context.
struct VersionRange {
  std::uint64_t min = 0;  // 0: there are none
  std::uint64_t max = 0;

  // What `number` computes on top of `num_cached_tokens` of these.
  void Extend(std::uint64_t number, std::int64_t num_cached_tokens);
};

// One version in one executor.
struct RunningVersion {
  std::shared_ptr<ServedVersion> served;
  std::unique_ptr<PolicyRunner> runner;
  // Sessions whose context is of it, and started tasks that run under it.
  std::int64_t num_uses = 0;
  bool is_offered = false;  // contexts may begin under it

  std::uint64_t number() const { return served->number(); }
};

// What is known of the version of a session's context.
struct ContextVersion {
  std::shared_ptr<VersionTally> tally;  // nullptr: the session has no context
  // Held where the session needs that version again.
  RunningVersion* held = nullptr;
  VersionRange cached;  // of the tokens in the blocks, if there are any
  // What the session's steps said; absent: nothing.
  std::optional<KvPolicy> kv_policy;

  std::uint64_t number() const { return tally == nullptr ? 0 : tally->number; }
};

class RunningVersions {
 public:
  // `runner` is of `version`, which is all that is offered at first.
  // `kv_policy`: of sessions whose steps say none. Pinned sessions hold the
  // version of their context; `are_all_held`: the others do too.
  RunningVersions(std::shared_ptr<ServedVersion> version,
                  std::unique_ptr<PolicyRunner> runner, KvPolicy kv_policy,
                  bool are_all_held);
  // REQUIRES: nothing that a runner made is left.
  ~RunningVersions();
  RunningVersions(const RunningVersions&) = delete;
  RunningVersions& operator=(const RunningVersions&) = delete;

  // From now on contexts begin under `rollout`. runners[i] is of its version i;
  // nullptr: that one runs here already.
  void RollOut(std::shared_ptr<const Rollout> rollout,
               std::vector<std::unique_ptr<PolicyRunner>> runners);

  KvPolicy KvPolicyOf(const ContextVersion& context) const {
    return context.kv_policy.value_or(kv_policy_);
  }
  // For a step with this wish. A session is pinned from then on: what has
  // changed before, it still follows.
  KvPolicy KvPolicyOf(const ContextVersion& context,
                      const VersionWish& wish) const {
    const bool says_otherwise =
        wish.kv_policy.value_or(KvPolicy::kPin) != KvPolicy::kPin;
    return says_otherwise ? *wish.kv_policy : KvPolicyOf(context);
  }
  bool has_several() const { return versions_.size() > 1; }
  // Of the version that is offered to all: what a policy says of steps is the
  // same in all versions.
  const Policy& policy() const { return *stable_->served->policy(); }

  // PolicyRunner::CopyBlock(): all of them have one memory of keys and values.
  void CopyBlock(std::int32_t from, std::int32_t to) {
    stable_->runner->CopyBlock(from, to);
  }

  // The version that a step is computed under; nullptr: there is none yet that
  // is new enough. `begins_context`: the step begins a context.
  // Errors: kFailedPrecondition  MODEL_VERSION: waiting would not help
  absl::StatusOr<RunningVersion*> Choose(const ContextVersion& context,
                                         std::uint64_t actor_hash,
                                         const VersionWish& wish,
                                         bool begins_context) const;

  // A task runs under `version`, and no more under `*use`; nullptr: none.
  // A version that is neither used nor offered goes.
  void Use(RunningVersion* version, RunningVersion** use);

  // A session's context goes on under `version`.
  void Join(RunningVersion* version, ContextVersion* context);
  // A copy of a session has the version of its source.
  // REQUIRES: `copy` is of a session that has no context.
  void Copy(const ContextVersion& source, ContextVersion* copy);
  // It has no context any more.
  void Leave(ContextVersion* context);

 private:
  RunningVersion* Find(std::uint64_t number) const;
  void FreeUnused();

  const KvPolicy kv_policy_;
  const bool are_all_held_;
  std::shared_ptr<const Rollout> rollout_;
  std::vector<std::unique_ptr<RunningVersion>> versions_;
  RunningVersion* stable_ = nullptr;
};

}  // namespace stepd

#endif  // STEPD_SERVER_ENGINE_RUNNING_VERSIONS_H_
