// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tools/bench_cc/raw_forward.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "model/step.h"
#include "tools/bench_cc/cpu_clock.h"
#include "tools/bench_cc/random_steps.h"

namespace stepd::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kPoolSize = 1024;  // more steps than any batch has rows
constexpr std::uint64_t kSeed = 1;

// The steps that sessions are given, encoded, with their sizes in tokens.
struct StepPool {
  std::vector<std::string> steps;
  std::vector<std::int64_t> num_tokens;
};

absl::StatusOr<StepPool> MakePool(const Policy& policy) {
  if (!policy.spec().session_fields.empty()) {
    return absl::UnimplementedError(
        "the policy reads inputs of sessions, which the benchmark does not "
        "give");
  }
  const RandomSteps random(policy.spec().fields, kPoolSize, kSeed);
  StepPool pool;
  for (int i = 0; i < kPoolSize; ++i) {
    pool.steps.push_back(random.Encode(i));
    const absl::StatusOr<int> tokens = policy.CountTokens(pool.steps.back());
    if (!tokens.ok()) return tokens.status();
    pool.num_tokens.push_back(*tokens);
  }
  return pool;
}

// One thread's sessions.
class Shard {
 public:
  struct Totals {
    absl::Status status;
    std::int64_t num_steps = 0;
    std::int64_t num_batches = 0;
    double seconds = 0.0;
  };

  Shard(const PolicySpec& spec, const StepPool* pool, int episode_steps)
      : spec_(spec), pool_(*pool), episode_steps_(episode_steps) {}

  // Before CreateRunner(). `position` < episode_steps.
  void AddSession(int position) {
    sessions_.emplace_back();
    sessions_.back().start = position;
  }
  absl::Status CreateRunner(const Policy& policy);

  Totals Run(Clock::duration duration);

 private:
  struct Session {
    int start = 0;
    int num_steps = 0;
    std::int64_t num_tokens = 0;
    std::vector<std::int32_t> blocks;
  };

  void AddStep(Session* session, SessionSlice* slice);
  absl::Status Prefill(Session* session);
  absl::Status Step();

  const PolicySpec& spec_;
  const StepPool& pool_;
  const int episode_steps_;
  std::vector<Session> sessions_;
  std::unique_ptr<PolicyRunner> runner_;
  std::size_t next_step_ = 0;
  StepBatch batch_;
  StepResult result_;
};

absl::Status Shard::CreateRunner(const Policy& policy) {
  const std::int64_t most_tokens =
      std::int64_t{episode_steps_} * spec_.max_tokens_per_step;
  const auto num_blocks = static_cast<std::int32_t>(
      (most_tokens + spec_.tokens_per_block - 1) / spec_.tokens_per_block);
  std::int32_t next_block = 0;
  for (Session& session : sessions_) {
    for (std::int32_t i = 0; i < num_blocks; ++i) {
      session.blocks.push_back(next_block++);
    }
  }
  RunnerOptions options;
  options.num_blocks = next_block;
  options.max_batch_tokens =
      std::max(most_tokens, static_cast<std::int64_t>(sessions_.size()) *
                                spec_.max_tokens_per_step);
  auto runner = policy.CreateRunner(options);
  if (!runner.ok()) return runner.status();
  runner_ = *std::move(runner);
  for (Session& session : sessions_) {
    const absl::Status status = Prefill(&session);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

// REQUIRES: the session's tokens are not changed before the forward is done.
void Shard::AddStep(Session* session, SessionSlice* slice) {
  slice->steps.push_back(pool_.steps[next_step_]);
  session->num_tokens += pool_.num_tokens[next_step_];
  ++session->num_steps;
  next_step_ = (next_step_ + 1) % pool_.steps.size();
}

absl::Status Shard::Prefill(Session* session) {
  if (session->start == 0) return absl::OkStatus();
  StepBatch batch;
  batch.slices.resize(1);
  SessionSlice& slice = batch.slices.front();
  slice.blocks = session->blocks;
  slice.num_answered = 1;
  while (session->num_steps < session->start) AddStep(session, &slice);
  return runner_->Forward(batch, &result_);
}

absl::Status Shard::Step() {
  batch_.slices.resize(sessions_.size());
  for (std::size_t i = 0; i < sessions_.size(); ++i) {
    Session& session = sessions_[i];
    if (session.num_steps == episode_steps_) {
      session.num_steps = 0;
      session.num_tokens = 0;
    }
    SessionSlice& slice = batch_.slices[i];
    slice.steps.clear();
    slice.num_cached_tokens = session.num_tokens;
    slice.blocks = session.blocks;
    slice.num_answered = 1;
    AddStep(&session, &slice);
  }
  return runner_->Forward(batch_, &result_);
}

Shard::Totals Shard::Run(Clock::duration duration) {
  Totals totals;
  const Clock::time_point start = Clock::now();
  Clock::time_point now = start;
  while (now - start < duration) {
    totals.status = Step();
    if (!totals.status.ok()) return totals;
    totals.num_steps += static_cast<std::int64_t>(sessions_.size());
    ++totals.num_batches;
    now = Clock::now();
  }
  totals.seconds = std::chrono::duration<double>(now - start).count();
  return totals;
}

class ShardedForward final : public RawForward {
 public:
  explicit ShardedForward(StepPool pool) : pool_(std::move(pool)) {}

  absl::Status AddShards(const Policy& policy,
                         const RawForwardOptions& options);
  absl::StatusOr<RawForwardResult> Run(absl::Duration duration) override;

 private:
  const StepPool pool_;
  std::vector<Shard> shards_;
};

absl::Status ShardedForward::AddShards(const Policy& policy,
                                       const RawForwardOptions& options) {
  const int num_shards = std::min(options.num_threads, options.num_actors);
  for (int i = 0; i < num_shards; ++i) {
    shards_.emplace_back(policy.spec(), &pool_, options.episode_steps);
  }
  for (int i = 0; i < options.num_actors; ++i) {
    shards_[static_cast<std::size_t>(i % num_shards)].AddSession(
        i * options.episode_steps / options.num_actors);
  }
  for (Shard& shard : shards_) {
    const absl::Status status = shard.CreateRunner(policy);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<RawForwardResult> ShardedForward::Run(absl::Duration duration) {
  std::vector<Shard::Totals> totals(shards_.size());
  // Of the process: companions compute too.
  const double cpu_before = ProcessCpuSeconds();
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < shards_.size(); ++i) {
    threads.emplace_back([this, i, duration, &totals] {
      totals[i] = shards_[i].Run(absl::ToChronoNanoseconds(duration));
    });
  }
  for (std::thread& thread : threads) thread.join();
  const double cpu_seconds = ProcessCpuSeconds() - cpu_before;

  RawForwardResult result;
  double num_steps = 0.0;
  double num_batches = 0.0;
  double seconds = 0.0;
  for (const Shard::Totals& shard : totals) {
    if (!shard.status.ok()) return shard.status;
    num_steps += static_cast<double>(shard.num_steps);
    num_batches += static_cast<double>(shard.num_batches);
    seconds += shard.seconds;
    result.steps_per_second +=
        static_cast<double>(shard.num_steps) / shard.seconds;
  }
  result.batch = num_steps / num_batches;
  result.forward_seconds = seconds / num_batches;
  result.cpu_seconds_per_step = cpu_seconds / num_steps;
  return result;
}

}  // namespace

absl::StatusOr<std::unique_ptr<RawForward>> RawForward::Create(
    const Policy* policy, const RawForwardOptions& options) {
  absl::StatusOr<StepPool> pool = MakePool(*policy);
  if (!pool.ok()) return pool.status();
  auto forward = std::make_unique<ShardedForward>(*std::move(pool));
  const absl::Status status = forward->AddShards(*policy, options);
  if (!status.ok()) return status;
  return forward;
}

}  // namespace stepd::bench
