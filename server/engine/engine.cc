// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/engine.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <functional>
#include <limits>
#include <optional>
#include <thread>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/common/cores.h"
#include "server/common/error.h"
#include "server/common/mutex.h"
#include "server/common/stable_hash.h"
#include "server/engine/executor.h"
#include "server/engine/fork.h"
#include "server/engine/shard_key.h"
#include "server/engine/step_queue.h"

namespace stepd {
namespace {

using Calling = std::function<void(Executor* executor)>;

// What all versions have in common, asked of the one that is stable.
class StableInputRules : public InputRules {
 public:
  explicit StableInputRules(std::shared_ptr<const Policy> policy)
      : spec_(policy->spec()), policy_(std::move(policy)) {}

  const PolicySpec& spec() const override { return spec_; }
  absl::StatusOr<int> CountTokens(absl::string_view step) const override {
    return policy()->CountTokens(step);
  }
  absl::Status CheckSessionInputs(
      absl::string_view session_inputs) const override {
    return policy()->CheckSessionInputs(session_inputs);
  }
  void Use(std::shared_ptr<const Policy> policy) ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    policy_ = std::move(policy);
  }

 private:
  std::shared_ptr<const Policy> policy() const ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    return policy_;
  }

  const PolicySpec spec_;
  mutable Mutex mu_;
  std::shared_ptr<const Policy> policy_ ABSL_GUARDED_BY(mu_);
};

// The core of executor `index`, if it has one.
std::optional<int> CoreOf(int index, const EngineOptions& options) {
  const std::vector<int> cores = AllowedCores();
  if (!options.has_own_cores || cores.empty()) return std::nullopt;
  return cores[static_cast<std::size_t>(index) % cores.size()];
}

// One executor with its queue and its thread.
//
// Thread safety: Submit(), Drain() and Call() are thread-safe.
class Shard {
 public:
  Shard(Executor::Parts parts, const ExecutorOptions& options,
        const EngineOptions& engine)
      : clock_(*parts.clock),
        core_(CoreOf(options.index, engine)),
        name_(absl::StrCat("stepd-exec-", options.index)),
        queue_(engine.max_queued_tasks, options.batching.max_batch_sessions,
               ToMonotonic(engine.spin)),
        kv_memory_(parts.runner->kv_memory()),
        executor_(std::move(parts), options),
        thread_([this] { Run(); }) {}

  ~Shard() { Drain(); }
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;

  absl::Status Submit(QueuedTask task) {
    task.submitted = clock_.Now();
    return queue_.TryPush(std::move(task));
  }

  void Drain() {
    queue_.Close();
    MutexLock lock(&join_mu_);
    if (thread_.joinable()) thread_.join();
  }

  const std::shared_ptr<KvMemory>& kv_memory() const { return kv_memory_; }

  // Has the executor's thread make this call between two batches, and waits
  // for it. False: it has drained. One call at a time.
  bool Call(const Calling& call) ABSL_LOCKS_EXCLUDED(call_mu_) {
    MutexLock lock(&call_mu_);
    call_ = &call;
    has_call_.store(true, std::memory_order_release);
    queue_.Wake();
    while (call_ != nullptr && !has_ended_) called_.Wait(&call_mu_);
    return std::exchange(call_, nullptr) == nullptr;
  }

 private:
  void Run() {
    pthread_setname_np(pthread_self(), name_.c_str());
    if (core_.has_value()) StayOn(*core_);
    std::vector<QueuedTask> tasks;
    bool is_open = true;
    while (is_open || executor_.num_unfinished() > 0) {
      if (is_open) is_open = TakeTasks(&tasks);
      if (!is_open) executor_.StartDraining();
      if (has_call_.load(std::memory_order_acquire)) MakeCall();
      const MonotonicTime now = clock_.Now();
      executor_.ExpireIdle(now);
      if (executor_.NextFire(now).at <= now) executor_.RunBatch(now);
      if (const std::int64_t count = executor_.TakeNumFinished(); count > 0) {
        queue_.Finish(count, executor_.expected_batch());
      }
    }
    MutexLock lock(&call_mu_);
    has_ended_ = true;
    called_.NotifyAll();
  }

  void MakeCall() ABSL_LOCKS_EXCLUDED(call_mu_) {
    MutexLock lock(&call_mu_);
    has_call_.store(false, std::memory_order_relaxed);
    if (call_ == nullptr) return;
    (*call_)(&executor_);
    call_ = nullptr;
    called_.NotifyAll();
  }

  // False: no more tasks will come.
  bool TakeTasks(std::vector<QueuedTask>* tasks) {
    const MonotonicTime now = clock_.Now();
    const FireTime fire = executor_.NextFire(now);
    const MonotonicTime wake = std::min(fire.at, executor_.NextExpiry());
    StepQueue::Waiting waiting;
    waiting.until = wake <= now ? StepQueue::kNoWait : wake;
    waiting.num_tasks = fire.num_missing;
    const bool is_open = queue_.PopAll(waiting, tasks);
    const MonotonicTime admitted = clock_.Now();
    for (QueuedTask& task : *tasks) executor_.Admit(std::move(task), admitted);
    tasks->clear();
    return is_open;
  }

  const Clock& clock_;
  const std::optional<int> core_;
  const std::string name_;
  StepQueue queue_;
  const std::shared_ptr<KvMemory> kv_memory_;
  Executor executor_;  // used by thread_ only
  std::atomic<bool> has_call_{false};
  Mutex call_mu_;
  CondVar called_;
  const Calling* call_ ABSL_GUARDED_BY(call_mu_) = nullptr;
  bool has_ended_ ABSL_GUARDED_BY(call_mu_) = false;
  Mutex join_mu_;
  std::thread thread_;  // last: it uses all of the above
};

// The lists of all executors as one.
//
// Thread safety: thread-safe.
class MergedList {
 public:
  using Done = absl::AnyInvocable<void(absl::StatusOr<SessionList>)>;

  MergedList(std::size_t num_parts, Done done)
      : num_left_(num_parts), done_(std::move(done)) {}

  // The last one completes the list.
  void Add(const absl::StatusOr<SessionList>& part) ABSL_LOCKS_EXCLUDED(mu_) {
    {
      MutexLock lock(&mu_);
      if (part.ok()) {
        list_.num_sessions += part->num_sessions;
        list_.sessions.insert(list_.sessions.end(), part->sessions.begin(),
                              part->sessions.end());
        list_.ended.insert(list_.ended.end(), part->ended.begin(),
                           part->ended.end());
      }
      status_.Update(part.status());
      if (--num_left_ > 0) return;
    }
    Finish();
  }

 private:
  // Nobody else is left to take the lock.
  void Finish() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    if (!status_.ok()) return done_(status_);
    std::stable_sort(list_.ended.begin(), list_.ended.end(),
                     [](const EndedSession& a, const EndedSession& b) {
                       return a.time < b.time;
                     });
    done_(std::move(list_));
  }

  Mutex mu_;
  std::size_t num_left_ ABSL_GUARDED_BY(mu_);
  SessionList list_ ABSL_GUARDED_BY(mu_);
  absl::Status status_ ABSL_GUARDED_BY(mu_);
  Done done_ ABSL_GUARDED_BY(mu_);
};

class ShardedEngine : public Engine {
 public:
  ShardedEngine(std::shared_ptr<ServedVersion> version,
                const RunnerOptions& runner_options,
                std::unique_ptr<SessionBudget> budget)
      : rules_(version->policy()),
        stable_version_(version->number()),
        runner_options_(runner_options),
        budget_(std::move(budget)),
        offered_({std::move(version)}) {}

  SessionBudget* budget() { return budget_.get(); }
  void AddShard(std::unique_ptr<Shard> shard) {
    shards_.push_back(std::move(shard));
  }

  const PolicySpec& spec() const override { return rules_.spec(); }
  const InputRules& input_rules() const override { return rules_; }

  std::uint64_t stable_version() const override {
    return stable_version_.load(std::memory_order_relaxed);
  }
  absl::Status RollOut(const Rollout& rollout) override
      ABSL_LOCKS_EXCLUDED(rollout_mu_);

  absl::Status Submit(Task task) override {
    if (auto* fork = std::get_if<ForkTask>(&task)) {
      return SubmitFork(std::move(*fork));
    }
    if (auto* list = std::get_if<ListTask>(&task)) {
      return SubmitList(std::move(*list));
    }
    if (auto* step = std::get_if<StepTask>(&task);
        step != nullptr && step->evaluation != nullptr) {
      // No actor's ID: those are UTF-8.
      step->actor_id = absl::StrCat("\xff", num_evaluations_.fetch_add(1));
    }
    return SubmitToShard(std::move(task));
  }

  void Drain() override {
    for (const std::unique_ptr<Shard>& shard : shards_) shard->Drain();
  }

 private:
  std::size_t ShardOf(absl::string_view actor_id) const {
    return StableHash(ShardKey(actor_id)) % shards_.size();
  }

  absl::Status SubmitToShard(Task task) {
    const std::size_t shard = ShardOf(ActorOf(task));
    QueuedTask queued;
    queued.task = std::move(task);
    return shards_[shard]->Submit(std::move(queued));
  }

  absl::Status SubmitFork(ForkTask task) {
    const std::size_t shard = ShardOf(task.actor_id);
    const auto first_other = std::stable_partition(
        task.forks.begin(), task.forks.end(),
        [&](const std::string& fork) { return ShardOf(fork) == shard; });
    std::vector<std::string> others(first_other, task.forks.end());
    task.forks.erase(first_other, task.forks.end());
    return ForkAcross(std::move(task), std::move(others),
                      [this](Task t) { return SubmitToShard(std::move(t)); });
  }

  absl::Status SubmitList(ListTask task) {
    const auto merged =
        std::make_shared<MergedList>(shards_.size(), std::move(task.done));
    for (const std::unique_ptr<Shard>& shard : shards_) {
      ListTask part;
      part.actor_prefix = task.actor_prefix;
      part.max_sessions = task.max_sessions;
      part.done = [merged](const absl::StatusOr<SessionList>& list) {
        merged->Add(list);
      };
      QueuedTask queued;
      queued.task = std::move(part);
      const absl::Status status = shard->Submit(std::move(queued));
      if (!status.ok()) merged->Add(status);
    }
    return absl::OkStatus();
  }

  // A runner for each version of the rollout that is not offered yet.
  absl::StatusOr<std::vector<std::unique_ptr<PolicyRunner>>> MakeRunners(
      const Rollout& rollout, const Shard& shard) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(rollout_mu_);

  StableInputRules rules_;
  std::atomic<std::uint64_t> stable_version_;
  const RunnerOptions runner_options_;
  const std::unique_ptr<SessionBudget> budget_;
  Mutex rollout_mu_;
  std::vector<std::shared_ptr<ServedVersion>> offered_
      ABSL_GUARDED_BY(rollout_mu_);
  std::vector<std::unique_ptr<Shard>> shards_;
  std::atomic<std::uint64_t> num_evaluations_{0};
};

absl::StatusOr<std::vector<std::unique_ptr<PolicyRunner>>>
ShardedEngine::MakeRunners(const Rollout& rollout, const Shard& shard) const {
  RunnerOptions options = runner_options_;
  options.kv_memory = shard.kv_memory();
  std::vector<std::unique_ptr<PolicyRunner>> runners;
  for (const std::shared_ptr<ServedVersion>& version : rollout.versions) {
    runners.emplace_back();
    if (std::find(offered_.begin(), offered_.end(), version) !=
        offered_.end()) {
      continue;
    }
    auto runner = version->policy()->CreateRunner(options);
    if (!runner.ok()) {
      const bool is_full = absl::IsResourceExhausted(runner.status());
      return Error(runner.status().code(),
                   is_full ? reason::kWeightsMemory : reason::kWeights,
                   runner.status().message());
    }
    runners.back() = *std::move(runner);
  }
  return runners;
}

absl::Status ShardedEngine::RollOut(const Rollout& rollout) {
  for (const std::shared_ptr<ServedVersion>& version : rollout.versions) {
    const std::string difference =
        FindDifference(version->policy()->spec(), spec());
    if (difference.empty()) continue;
    return Error(absl::StatusCode::kInvalidArgument, reason::kWeights,
                 absl::StrCat("version ", version->number(),
                              " is of another architecture: ", difference));
  }
  MutexLock lock(&rollout_mu_);
  std::vector<std::vector<std::unique_ptr<PolicyRunner>>> runners;
  for (const std::unique_ptr<Shard>& shard : shards_) {
    auto of_shard = MakeRunners(rollout, *shard);
    if (!of_shard.ok()) return of_shard.status();
    runners.push_back(*std::move(of_shard));
  }
  const auto offered = std::make_shared<const Rollout>(rollout);
  bool is_in_effect = true;
  for (std::size_t i = 0; i < shards_.size(); ++i) {
    is_in_effect &= shards_[i]->Call([&](Executor* executor) {
      executor->RollOut(offered, std::move(runners[i]));
    });
  }
  offered_ = rollout.versions;
  rules_.Use(rollout.Find(rollout.stable)->policy());
  stable_version_.store(rollout.stable, std::memory_order_relaxed);
  if (is_in_effect) return absl::OkStatus();
  return Draining();
}

absl::Status CheckOptions(const EngineOptions& options) {
  const auto check = [](bool is_good, absl::string_view what) {
    return is_good ? absl::OkStatus() : absl::InvalidArgumentError(what);
  };
  absl::Status status =
      check(options.num_executors >= 1, "num_executors must be at least 1");
  status.Update(check(options.max_batch_sessions >= 1,
                      "max_batch_sessions must be at least 1"));
  status.Update(check(options.max_batch_tokens >= 1,
                      "max_batch_tokens must be at least 1"));
  status.Update(check(
      options.max_wait.value_or(absl::ZeroDuration()) >= absl::ZeroDuration(),
      "max_wait must not be negative"));
  status.Update(check(options.max_queued_tasks >= 1,
                      "max_queued_tasks must be at least 1"));
  status.Update(
      check(options.max_sessions >= 1, "max_sessions must be at least 1"));
  const ContextLimits& context = options.context;
  status.Update(check(context.max_steps >= 1, "max_steps must be at least 1"));
  status.Update(
      check(context.keep_steps >= 0 && context.keep_steps <= context.max_steps,
            "keep_steps must be between 0 and max_steps"));
  status.Update(check(options.idle_timeout > absl::ZeroDuration(),
                      "idle_timeout must be positive"));
  return status;
}

// Blocks of each executor; none for a policy that caches nothing.
absl::StatusOr<std::int32_t> BlocksPerExecutor(const PolicySpec& spec,
                                               const EngineOptions& options) {
  const std::int64_t block_bytes = spec.kv_bytes_per_block();
  if (block_bytes == 0) return 0;
  const std::int64_t num_blocks =
      options.cache_bytes / block_bytes / options.num_executors;
  if (num_blocks < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "cache_bytes: ", options.cache_bytes, " bytes hold no KV block of ",
        block_bytes, " bytes for each of ", options.num_executors,
        " executors"));
  }
  return static_cast<std::int32_t>(std::min<std::int64_t>(
      num_blocks, std::numeric_limits<std::int32_t>::max()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(
    std::shared_ptr<const Policy> policy, const EngineOptions& options,
    Observer* observer, const Clock* clock) {
  return Create(std::make_shared<ServedVersion>(1, std::move(policy)), options,
                observer, clock);
}

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(
    std::shared_ptr<ServedVersion> version, const EngineOptions& options,
    Observer* observer, const Clock* clock) {
  absl::Status status = CheckOptions(options);
  if (!status.ok()) return status;
  const absl::StatusOr<std::int32_t> num_blocks =
      BlocksPerExecutor(version->policy()->spec(), options);
  if (!num_blocks.ok()) return num_blocks.status();

  ExecutorOptions executor_options;
  executor_options.batching.max_batch_sessions = options.max_batch_sessions;
  executor_options.batching.max_batch_tokens = options.max_batch_tokens;
  executor_options.batching.max_wait.reset();
  if (options.max_wait.has_value()) {
    executor_options.batching.max_wait = ToMonotonic(*options.max_wait);
  }
  executor_options.num_blocks = *num_blocks;
  executor_options.context = options.context;
  executor_options.kv_policy = options.kv_policy;
  // Later than the epochs of whatever ran before, here or in a client.
  executor_options.first_epoch =
      static_cast<std::uint64_t>(absl::ToUnixNanos(absl::Now()));
  executor_options.idle_timeout =
      options.idle_timeout == absl::InfiniteDuration()
          ? MonotonicDuration::max()
          : ToMonotonic(options.idle_timeout);
  RunnerOptions runner_options;
  runner_options.num_blocks = *num_blocks;
  runner_options.max_batch_tokens = options.max_batch_tokens;

  auto engine = std::make_unique<ShardedEngine>(
      version, runner_options,
      std::make_unique<SessionBudget>(options.max_sessions));
  for (int i = 0; i < options.num_executors; ++i) {
    absl::StatusOr<std::unique_ptr<PolicyRunner>> runner =
        version->policy()->CreateRunner(runner_options);
    if (!runner.ok()) return runner.status();
    executor_options.index = i;
    Executor::Parts parts;
    parts.version = version;
    parts.runner = *std::move(runner);
    parts.budget = engine->budget();
    parts.observer = observer;
    parts.clock = clock;
    parts.journal = options.journal;
    parts.finished_steps = options.finished_steps;
    engine->AddShard(
        std::make_unique<Shard>(std::move(parts), executor_options, options));
  }
  return engine;
}

}  // namespace stepd
