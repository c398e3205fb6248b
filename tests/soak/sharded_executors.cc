// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/soak/sharded_executors.h"

#include <algorithm>
#include <iterator>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/common/stable_hash.h"
#include "server/engine/fork.h"
#include "server/engine/shard_key.h"

namespace stepd {

ShardedExecutors::ShardedExecutors(const FamilyPolicies* policies,
                                   const Options& options, Observer* observer,
                                   const Clock* clock)
    : policies_(*policies),
      options_(options),
      observer_(observer),
      clock_(clock),
      budget_(options.max_sessions) {
  for (int i = 0; i < options.num_executors; ++i) AddShard(i);
}

void ShardedExecutors::AddShard(int index) {
  shards_.push_back(std::make_unique<Shard>());
  Shard* shard = shards_.back().get();
  const std::int32_t num_blocks = options_.executor.num_blocks;
  shard->keys = std::make_unique<KeyRecord>(*policies_.Get(0), num_blocks);
  shard->keys->FailOneIn(options_.fail_one_in);
  shard->runner_options.num_blocks = num_blocks;
  shard->runner_options.max_batch_tokens =
      options_.executor.batching.max_batch_tokens;
  Executor::Parts parts;
  parts.version = Version(options_.version);
  parts.runner = MakeRunner(options_.version, shard);
  parts.budget = &budget_;
  parts.observer = observer_;
  parts.clock = clock_;
  parts.journal = options_.journal;
  ExecutorOptions executor = options_.executor;
  executor.index = index;
  shard->executor = std::make_unique<Executor>(std::move(parts), executor);
  shard->keys->AskUsers([pool = &shard->executor->pool()](std::int32_t block) {
    return static_cast<int>(pool->use_count(block));
  });
}

std::shared_ptr<ServedVersion> ShardedExecutors::Version(std::uint64_t number) {
  std::shared_ptr<ServedVersion>& version = versions_[number];
  if (version == nullptr) {
    version = std::make_shared<ServedVersion>(number, policies_.Get(number));
    tallies_.push_back(version->tally());
  }
  return version;
}

// All runners of a shard share the memory of the first one.
std::unique_ptr<PolicyRunner> ShardedExecutors::MakeRunner(
    std::uint64_t version, Shard* shard) {
  auto runner =
      policies_.Get(version)->CreateRunner(shard->runner_options).value();
  shard->runner_options.kv_memory = runner->kv_memory();
  return shard->keys->Watch(version, std::move(runner));
}

int ShardedExecutors::ShardOf(absl::string_view actor_id) const {
  return static_cast<int>(StableHash(ShardKey(actor_id)) % shards_.size());
}

const Session* ShardedExecutors::FindSession(absl::string_view actor_id) const {
  return shards_[std::size_t(ShardOf(actor_id))]->executor->FindSession(
      actor_id);
}

KeyRecord& ShardedExecutors::KeysOf(absl::string_view actor_id) {
  return *shards_[std::size_t(ShardOf(actor_id))]->keys;
}

void ShardedExecutors::SubmitToShard(Task task) {
  Shard& shard = *shards_[std::size_t(ShardOf(ActorOf(task)))];
  QueuedTask queued;
  queued.submitted = clock_->Now();
  queued.task = std::move(task);
  shard.queue.push_back(std::move(queued));
}

void ShardedExecutors::Submit(Task task) {
  auto* fork = std::get_if<ForkTask>(&task);
  if (fork == nullptr) return SubmitToShard(std::move(task));
  const int shard = ShardOf(fork->actor_id);
  const auto first_other = std::stable_partition(
      fork->forks.begin(), fork->forks.end(),
      [&](const std::string& actor_id) { return ShardOf(actor_id) == shard; });
  std::vector<std::string> others(first_other, fork->forks.end());
  fork->forks.erase(first_other, fork->forks.end());
  ForkAcross(std::move(*fork), std::move(others), [this](Task t) {
    SubmitToShard(std::move(t));
    return absl::OkStatus();
  }).IgnoreError();
}

void ShardedExecutors::Run(int shard_index) {
  Shard& shard = *shards_[std::size_t(shard_index)];
  while (!shard.queue.empty()) {
    QueuedTask task = std::move(shard.queue.front());
    shard.queue.pop_front();
    shard.executor->Admit(std::move(task), clock_->Now());
  }
  const MonotonicTime now = clock_->Now();
  if (shard.executor->NextFire(now).at <= now) shard.executor->RunBatch(now);
}

void ShardedExecutors::Expire(int shard) {
  executor(shard).ExpireIdle(clock_->Now());
}

void ShardedExecutors::Drain() {
  for (const auto& shard : shards_) shard->executor->StartDraining();
  bool is_busy = true;
  while (is_busy) {
    for (int i = 0; i < size(); ++i) Run(i);
    // Each of them may have given the others something to do.
    is_busy = std::any_of(
        shards_.begin(), shards_.end(), [](const std::unique_ptr<Shard>& s) {
          return s->executor->num_unfinished() > 0 || !s->queue.empty();
        });
  }
}

void ShardedExecutors::RollOut(Rollout rollout) {
  std::vector<std::uint64_t> numbers = {rollout.stable};
  if (rollout.canary != 0 && rollout.canary != rollout.stable) {
    numbers.push_back(rollout.canary);
  }
  for (const std::uint64_t number : numbers) {
    rollout.versions.push_back(Version(number));
  }
  const auto shared = std::make_shared<const Rollout>(std::move(rollout));
  for (const auto& shard : shards_) {
    std::vector<std::unique_ptr<PolicyRunner>> runners;
    for (const std::uint64_t number : numbers) {
      runners.push_back(MakeRunner(number, shard.get()));
    }
    shard->executor->RollOut(shared, std::move(runners));
  }
  FreeVersions(*shared);
}

// Those that nobody runs, with the memory of their runners.
void ShardedExecutors::FreeVersions(const Rollout& offered) {
  for (auto it = versions_.begin(); it != versions_.end();) {
    const bool is_free =
        it->second->num_executors() == 0 && offered.Find(it->first) == nullptr;
    it = is_free ? versions_.erase(it) : std::next(it);
  }
}

std::vector<std::string> ShardedExecutors::Violations() const {
  std::vector<std::string> all;
  for (const auto& shard : shards_) {
    const std::vector<std::string>& some = shard->keys->violations();
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

std::vector<std::string> ShardedExecutors::Leaks() {
  std::vector<std::string> leaks;
  for (const auto& shard : shards_) {
    if (const auto num_used = shard->executor->pool().num_used()) {
      leaks.push_back(absl::StrCat(num_used, " blocks leaked"));
    }
    if (const auto num = shard->executor->gauges().num_sessions) {
      leaks.push_back(absl::StrCat(num, " sessions leaked"));
    }
    shard->executor.reset();
  }
  for (const auto& [number, version] : versions_) {
    if (version->num_executors() != 0) {
      leaks.push_back(absl::StrCat("version ", number, " is still run"));
    }
  }
  for (const auto& tally : tallies_) {
    if (tally->num_sessions.load() == 0) continue;
    leaks.push_back(
        absl::StrCat("version ", tally->number, " still has sessions"));
  }
  return leaks;
}

}  // namespace stepd
