// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tools/bench_cc/fixed_forward.h"

#include <algorithm>
#include <cstddef>

#include "tools/bench_cc/cpu_clock.h"
#include "tools/bench_cc/random_steps.h"

namespace stepd::bench {
namespace {

constexpr std::uint64_t kSeed = 4;
// Blocks that are written in one forward.
constexpr std::size_t kBlocksAtOnce = 32;

}  // namespace

FixedForward::FixedForward(const Policy* policy,
                           const std::vector<std::int64_t>& lengths)
    : policy_(*policy) {
  const PolicySpec& spec = policy->spec();
  const RandomSteps random(spec.fields, static_cast<int>(lengths.size()),
                           kSeed);
  std::int32_t next_block = 0;
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    steps_.push_back(random.Encode(static_cast<std::int64_t>(i)));
    blocks_.emplace_back();
    for (std::int64_t at = 0; at <= lengths[i]; at += spec.tokens_per_block) {
      blocks_.back().push_back(next_block++);
    }
  }
  batch_.slices.resize(lengths.size());
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    SessionSlice& slice = batch_.slices[i];
    slice.steps = {steps_[i]};
    slice.num_cached_tokens = lengths[i];
    slice.blocks = blocks_[i];
    slice.num_answered = 1;
  }
}

absl::StatusOr<std::unique_ptr<FixedForward>> FixedForward::Create(
    const Policy* policy, const std::vector<std::int64_t>& lengths) {
  if (policy->spec().max_tokens_per_step != 1) {
    return absl::UnimplementedError("want a policy of one token per step");
  }
  std::unique_ptr<FixedForward> forward(new FixedForward(policy, lengths));
  RunnerOptions options;
  options.num_blocks = forward->blocks_.back().back() + 1;
  options.max_batch_tokens =
      std::int64_t{kBlocksAtOnce} * policy->spec().tokens_per_block;
  auto runner = policy->CreateRunner(options);
  if (!runner.ok()) return runner.status();
  forward->runner_ = *std::move(runner);
  const absl::Status status = forward->WriteBlocks();
  if (!status.ok()) return status;
  return forward;
}

// Each block as if a context began with it: what a forward takes does not
// depend on what it reads, but memory that was never written is not there.
absl::Status FixedForward::WriteBlocks() {
  const auto size = static_cast<std::size_t>(policy_.spec().tokens_per_block);
  StepBatch batch;
  const auto flush = [&] {
    const absl::Status status = batch.slices.empty()
                                    ? absl::OkStatus()
                                    : runner_->Forward(batch, &result_);
    batch.slices.clear();
    return status;
  };
  for (const std::vector<std::int32_t>& blocks : blocks_) {
    for (const std::int32_t& block : blocks) {
      batch.slices.emplace_back();
      SessionSlice& slice = batch.slices.back();
      slice.steps.assign(size, steps_.front());
      slice.blocks = {&block, 1};
      slice.num_answered = 1;
      if (batch.slices.size() < kBlocksAtOnce) continue;
      const absl::Status status = flush();
      if (!status.ok()) return status;
    }
  }
  return flush();
}

absl::StatusOr<double> FixedForward::Run() {
  const double begin = ThreadCpuSeconds();
  const absl::Status status = runner_->Forward(batch_, &result_);
  if (!status.ok()) return status;
  return ThreadCpuSeconds() - begin;
}

}  // namespace stepd::bench
