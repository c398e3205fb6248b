// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Versions of a policy's weights in service, and which of them a context
// begins under. Versions differ in their weights alone: what one policy's spec
// says is true of all.

#ifndef STEPD_SERVER_ENGINE_SERVED_VERSION_H_
#define STEPD_SERVER_ENGINE_SERVED_VERSION_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "model/policy.h"
#include "server/common/mutex.h"
#include "server/engine/step_task.h"

namespace stepd {

// A version's number, and the sessions whose context went on under it last.
// Outlives its weights as long as there are such sessions.
struct VersionTally {
  explicit VersionTally(std::uint64_t number) : number(number) {}
  const std::uint64_t number;
  std::atomic<std::int64_t> num_sessions{0};
};

// One version. Whoever offers it holds it until no executor runs it any more,
// so that its memory is given back there and not between two batches.
//
// Thread safety: thread-safe.
class ServedVersion {
 public:
  ServedVersion(std::uint64_t number, std::shared_ptr<const Policy> policy)
      : tally_(std::make_shared<VersionTally>(number)),
        policy_(std::move(policy)) {}
  ServedVersion(const ServedVersion&) = delete;
  ServedVersion& operator=(const ServedVersion&) = delete;
  ~ServedVersion() = default;

  std::uint64_t number() const { return tally_->number; }
  const std::shared_ptr<const Policy>& policy() const { return policy_; }
  const std::shared_ptr<VersionTally>& tally() const { return tally_; }

  // Executors that may still run it.
  int num_executors() const {
    return num_executors_.load(std::memory_order_acquire);
  }

  // For executors.
  void AddExecutor() { num_executors_.fetch_add(1, std::memory_order_relaxed); }
  // Keeps the runner, whose memory takes long to give back.
  void RemoveExecutor(std::unique_ptr<PolicyRunner> runner)
      ABSL_LOCKS_EXCLUDED(mu_) {
    {
      MutexLock lock(&mu_);
      runners_.push_back(std::move(runner));
    }
    num_executors_.fetch_sub(1, std::memory_order_release);
  }

 private:
  const std::shared_ptr<VersionTally> tally_;
  const std::shared_ptr<const Policy> policy_;
  std::atomic<int> num_executors_{0};
  Mutex mu_;
  // After the policy: they must not outlive it.
  std::vector<std::unique_ptr<PolicyRunner>> runners_ ABSL_GUARDED_BY(mu_);
};

// What contexts begin under from some moment on.
struct Rollout {
  // All versions that are named below.
  std::vector<std::shared_ptr<ServedVersion>> versions;
  // Where nothing else applies.
  std::uint64_t stable = 0;
  // Of this share of the actors; 0: of none.
  std::uint64_t canary = 0;
  double canary_share = 0.0;  // 0 to 1
  // That a step can ask for by name.
  std::map<std::string, std::uint64_t> labels;

  // nullptr: it is not among the versions.
  const ServedVersion* Find(std::uint64_t number) const;
};

// Whether the actor of this hash belongs to a share of all actors. Who belongs
// to a share belongs to every larger one.
bool IsInShare(std::uint64_t actor_hash, double share);

// The version that an actor's next context begins under; 0: there is none yet
// that is new enough, or none of that label.
std::uint64_t ChooseVersion(const Rollout& rollout, std::uint64_t actor_hash,
                            const VersionWish& wish);

}  // namespace stepd

#endif  // STEPD_SERVER_ENGINE_SERVED_VERSION_H_
