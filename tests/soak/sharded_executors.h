// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What an engine is without its threads: executors that share the sessions by
// their names, each with its queue, run by whoever holds this, at any pace.
//
// Thread safety: none.

#ifndef STEPD_TESTS_SOAK_SHARDED_EXECUTORS_H_
#define STEPD_TESTS_SOAK_SHARDED_EXECUTORS_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "server/common/clock.h"
#include "server/engine/executor.h"
#include "server/engine/observer.h"
#include "server/engine/served_version.h"
#include "server/engine/session_store.h"
#include "server/engine/session_task.h"
#include "server/engine/step_queue.h"
#include "tests/soak/families.h"
#include "tests/soak/key_record.h"

namespace stepd {

class ShardedExecutors {
 public:
  struct Options {
    int num_executors = 1;
    ExecutorOptions executor;
    std::int64_t max_sessions = 1000;
    Journal* journal = nullptr;
    std::int64_t fail_one_in = 0;  // forwards
    std::uint64_t version = 1;     // the first one that is offered
  };
  // What is passed by pointer must outlive it.
  ShardedExecutors(const FamilyPolicies* policies, const Options& options,
                   Observer* observer, const Clock* clock);

  const Options& options() const { return options_; }
  int size() const { return static_cast<int>(shards_.size()); }
  int ShardOf(absl::string_view actor_id) const;
  Executor& executor(int shard) {
    return *shards_[std::size_t(shard)]->executor;
  }
  const Session* FindSession(absl::string_view actor_id) const;
  KeyRecord& KeysOf(absl::string_view actor_id);

  void Submit(Task task);
  // Takes what is queued, and runs a batch if there is something to run.
  void Run(int shard);
  // Drops what is idle for too long.
  void Expire(int shard);
  // Finishes everything. Nothing can be submitted any more.
  void Drain();

  // `rollout` has no versions yet, only their numbers.
  void RollOut(Rollout rollout);

  // What a correct executor never does; empty is good. After Drain() and the
  // end of every session: what is left of them too.
  std::vector<std::string> Violations() const;
  std::vector<std::string> Leaks();

 private:
  struct Shard {
    std::unique_ptr<KeyRecord> keys;
    RunnerOptions runner_options;
    std::deque<QueuedTask> queue;
    std::unique_ptr<Executor> executor;
  };

  std::unique_ptr<PolicyRunner> MakeRunner(std::uint64_t version, Shard* shard);
  std::shared_ptr<ServedVersion> Version(std::uint64_t number);
  void FreeVersions(const Rollout& offered);
  void AddShard(int index);
  void SubmitToShard(Task task);

  const FamilyPolicies& policies_;
  const Options options_;
  Observer* const observer_;
  const Clock* const clock_;
  SessionBudget budget_;
  std::map<std::uint64_t, std::shared_ptr<ServedVersion>> versions_;
  std::vector<std::shared_ptr<VersionTally>>
      tallies_;  // of all there ever were
  std::vector<std::unique_ptr<Shard>> shards_;
};

}  // namespace stepd

#endif  // STEPD_TESTS_SOAK_SHARDED_EXECUTORS_H_
