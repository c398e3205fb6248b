// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tools/bench_cc/session_figures.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/loader.h"
#include "server/engine/executor.h"
#include "tools/bench_cc/random_steps.h"
#include "tools/bench_cc/statistics.h"

namespace stepd::bench {
namespace {

using Seconds = std::chrono::duration<double>;

constexpr std::uint64_t kSeed = 6;
constexpr int kNumSessions = 32;  // of each length and round
constexpr std::int64_t kShortest = 16;

// An executor on the calling thread.
class OneExecutor {
 public:
  static absl::StatusOr<std::unique_ptr<OneExecutor>> Create(
      std::shared_ptr<const Policy> policy, std::int64_t longest) {
    const PolicySpec& spec = policy->spec();
    const std::int64_t blocks_each =
        longest * spec.max_tokens_per_step / spec.tokens_per_block + 2;
    RunnerOptions options;
    options.num_blocks =
        static_cast<std::int32_t>(blocks_each * (kNumSessions + 2));
    auto runner = policy->CreateRunner(options);
    if (!runner.ok()) return runner.status();
    return std::unique_ptr<OneExecutor>(new OneExecutor(
        std::move(policy), *std::move(runner), options.num_blocks));
  }

  // Appends `num_steps` steps to the actor's session.
  absl::Status Grow(const std::string& actor_id, std::int64_t num_steps) {
    StepTask task;
    task.actor_id = actor_id;
    for (std::int64_t i = 0; i < num_steps; ++i) {
      task.steps.Append(step_);
      task.num_tokens.push_back(num_tokens_);
    }
    absl::Status status;
    task.done = [&status](const absl::StatusOr<StepReply>& reply) {
      status = reply.status();
    };
    Run(std::move(task));
    return status;
  }

  // Microseconds until `task`, which needs no computation, is done.
  template <typename AnyTask>
  double Time(AnyTask task) {
    const MonotonicTime begin = Clock::Real()->Now();
    Run(std::move(task));
    return 1e6 * Seconds(Clock::Real()->Now() - begin).count();
  }

 private:
  OneExecutor(std::shared_ptr<const Policy> policy,
              std::unique_ptr<PolicyRunner> runner, std::int32_t num_blocks)
      : step_(RandomSteps(policy->spec().fields, 1, kSeed).Encode(0)),
        num_tokens_(policy->CountTokens(step_).value_or(1)),
        budget_(2 * kNumSessions) {
    ExecutorOptions options;
    options.num_blocks = num_blocks;
    options.context.max_steps = std::int64_t{1} << 30;
    Executor::Parts parts;
    parts.version = std::make_shared<ServedVersion>(1, std::move(policy));
    parts.runner = std::move(runner);
    parts.budget = &budget_;
    parts.observer = &observer_;
    parts.clock = Clock::Real();
    executor_ = std::make_unique<Executor>(std::move(parts), options);
  }

  template <typename AnyTask>
  void Run(AnyTask task) {
    QueuedTask queued;
    queued.submitted = Clock::Real()->Now();
    queued.task = std::move(task);
    executor_->Admit(std::move(queued), queued.submitted);
    while (executor_->num_unfinished() > 0) {
      executor_->RunBatch(Clock::Real()->Now());
    }
  }

  const std::string step_;
  const int num_tokens_;
  NullObserver observer_;
  SessionBudget budget_;
  std::unique_ptr<Executor> executor_;
};

struct Times {
  std::vector<double> forks;
  std::vector<double> resets;  // of forks that took a step of their own
};

absl::StatusOr<Times> MeasureLength(OneExecutor* executor,
                                    std::int64_t num_steps) {
  absl::Status status = executor->Grow("source", num_steps);
  if (!status.ok()) return status;
  Times times;
  const auto reset = [&](const std::string& actor_id) {
    ResetTask task;
    task.actor_id = actor_id;
    task.done = [&](const absl::Status& done) { status.Update(done); };
    return executor->Time(std::move(task));
  };
  for (int i = 0; i < kNumSessions; ++i) {
    const std::string actor_id = absl::StrCat("fork ", i);
    ForkTask task;
    task.actor_id = "source";
    task.forks = {actor_id};
    task.done = [&](const absl::StatusOr<ForkResult>& fork) {
      status.Update(fork.status());
    };
    times.forks.push_back(executor->Time(std::move(task)));
    status.Update(executor->Grow(actor_id, 1));
  }
  reset("source");
  for (int i = 0; i < kNumSessions; ++i) {
    times.resets.push_back(reset(absl::StrCat("fork ", i)));
  }
  if (!status.ok()) return status;
  return times;
}

void AddTo(const std::string& name, const std::vector<double>& times,
           std::vector<ForwardFigure>* figures) {
  const double largest = *std::max_element(times.begin(), times.end());
  for (const auto& [kind, value] :
       {std::pair("median", Median(times)), std::pair("largest", largest)}) {
    const std::string full = absl::StrCat(name, ", ", kind, ", us");
    const auto found = std::find_if(
        figures->begin(), figures->end(),
        [&](const ForwardFigure& figure) { return figure.name == full; });
    if (found != figures->end()) {
      found->rounds.push_back(value);
    } else {
      figures->push_back({full, {value}});
    }
  }
}

}  // namespace

absl::StatusOr<std::vector<ForwardFigure>> MeasureSessions(
    const ForwardOptions& options) {
  auto policy = LoadPolicy(options.checkpoint, LoadOptions());
  if (!policy.ok()) return policy.status();
  const std::shared_ptr<const Policy> shared = *std::move(policy);
  const std::int64_t longest = options.longest_context;
  auto executor = OneExecutor::Create(shared, longest);
  if (!executor.ok()) return executor.status();
  std::vector<ForwardFigure> figures;
  for (int round = 0; round < options.rounds; ++round) {
    for (std::int64_t steps = kShortest; steps <= longest; steps *= 16) {
      const auto times = MeasureLength(executor->get(), steps);
      if (!times.ok()) return times.status();
      AddTo(absl::StrCat("fork at ", steps, " steps"), times->forks, &figures);
      AddTo(absl::StrCat("reset at ", steps, " steps"), times->resets,
            &figures);
    }
  }
  return figures;
}

}  // namespace stepd::bench
