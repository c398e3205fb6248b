// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/engine.h"

#include <pthread.h>

#include <algorithm>
#include <cassert>
#include <limits>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/common/mutex.h"
#include "server/common/stable_hash.h"
#include "server/engine/executor.h"
#include "server/engine/step_queue.h"

namespace stepd {
namespace {

// Longer than any process lives, and far from overflow when added to a time.
constexpr absl::Duration kLongest = absl::Hours(24 * 365 * 10);

MonotonicDuration ToMonotonic(absl::Duration duration) {
  return absl::ToChronoNanoseconds(std::min(duration, kLongest));
}

// One executor with its queue and its thread.
//
// Thread safety: Submit() and Drain() are thread-safe.
class Shard {
 public:
  Shard(Executor::Parts parts, const ExecutorOptions& options,
        int max_queued_tasks)
      : clock_(*parts.clock),
        name_(absl::StrCat("stepd-exec-", options.index)),
        queue_(max_queued_tasks, options.batching.max_batch_sessions),
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

 private:
  void Run() {
    pthread_setname_np(pthread_self(), name_.c_str());
    std::vector<QueuedTask> tasks;
    bool is_open = true;
    while (is_open || executor_.num_unfinished() > 0) {
      if (is_open) is_open = TakeTasks(&tasks);
      if (!is_open) executor_.StartDraining();
      const MonotonicTime now = clock_.Now();
      executor_.ExpireIdle(now);
      if (executor_.NextFire(now).at <= now) executor_.RunBatch(now);
      if (const std::int64_t count = executor_.TakeNumFinished(); count > 0) {
        queue_.Finish(count, executor_.expected_batch());
      }
    }
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
  const std::string name_;
  StepQueue queue_;
  Executor executor_;  // used by thread_ only
  Mutex join_mu_;
  std::thread thread_;  // last: it uses all of the above
};

class ShardedEngine : public Engine {
 public:
  ShardedEngine(std::shared_ptr<const Policy> policy,
                std::unique_ptr<SessionBudget> budget)
      : policy_(std::move(policy)), budget_(std::move(budget)) {}

  SessionBudget* budget() { return budget_.get(); }
  void AddShard(std::unique_ptr<Shard> shard) {
    shards_.push_back(std::move(shard));
  }

  const PolicySpec& spec() const override { return policy_->spec(); }
  const Policy& policy() const override { return *policy_; }

  absl::Status Submit(StepTask task) override {
    assert(!task.steps.empty());
    assert(task.steps.size() == task.num_tokens.size());
    return SubmitTask(std::move(task));
  }
  absl::Status Submit(ResetTask task) override {
    return SubmitTask(std::move(task));
  }

  void Drain() override {
    for (const std::unique_ptr<Shard>& shard : shards_) shard->Drain();
  }

 private:
  template <typename T>
  absl::Status SubmitTask(T task) {
    const std::uint64_t hash = StableHash(task.actor_id);
    QueuedTask queued;
    queued.actor_hash = hash;
    queued.task = std::move(task);
    return shards_[hash % shards_.size()]->Submit(std::move(queued));
  }

  const std::shared_ptr<const Policy> policy_;
  const std::unique_ptr<SessionBudget> budget_;
  std::vector<std::unique_ptr<Shard>> shards_;
};

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
  absl::Status status = CheckOptions(options);
  if (!status.ok()) return status;
  const absl::StatusOr<std::int32_t> num_blocks =
      BlocksPerExecutor(policy->spec(), options);
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
      policy, std::make_unique<SessionBudget>(options.max_sessions));
  for (int i = 0; i < options.num_executors; ++i) {
    absl::StatusOr<std::unique_ptr<PolicyRunner>> runner =
        policy->CreateRunner(runner_options);
    if (!runner.ok()) return runner.status();
    executor_options.index = i;
    engine->AddShard(std::make_unique<Shard>(
        Executor::Parts{policy.get(), *std::move(runner), engine->budget(),
                        observer, clock},
        executor_options, options.max_queued_tasks));
  }
  return engine;
}

}  // namespace stepd
