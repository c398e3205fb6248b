// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/layers/moe_ffn.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>

#include "ATen/core/Tensor.h"

namespace stepd {

using kernels::KernelSet;

namespace {

// How a router's logits [E] become scores.
absl::Span<float> Scores(RouterScores kind, absl::Span<const float> logits,
                         Scratch* scratch) {
  const auto scores = scratch->TakeHost<float>(logits.size());
  std::copy(logits.begin(), logits.end(), scores.begin());
  if (kind == RouterScores::kSigmoid) {
    for (float& s : scores) s = 1.0F / (1.0F + std::exp(-s));
    return scores;
  }
  const float highest = *std::max_element(scores.begin(), scores.end());
  float sum = 0.0F;
  for (float& s : scores) {
    s = std::exp(s - highest);
    sum += s;
  }
  for (float& s : scores) s /= sum;
  return scores;
}

}  // namespace

MoeFfn::MoeFfn(const MoeConfig& config, const KernelSet& kernels)
    : choice_(config.choice),
      scores_(config.scores),
      top_k_(config.top_k),
      capacity_factor_(config.capacity_factor),
      selection_bias_(config.experts.size(), 0.0F),
      router_(kernels.PackFloat32({config.router})) {
  if (config.selection_bias.defined()) {
    const at::Tensor bias = config.selection_bias.to(at::kFloat).contiguous();
    std::copy_n(bias.const_data_ptr<float>(), selection_bias_.size(),
                selection_bias_.begin());
  }
  for (const DenseFfnConfig& expert : config.experts) {
    experts_.emplace_back(expert, kernels);
  }
  for (const DenseFfnConfig& expert : config.shared_experts) {
    shared_experts_.emplace_back(expert, kernels);
  }
}

std::int64_t MoeFfn::ScratchSize(std::int64_t num_tokens) const {
  std::int64_t blocks = 0;
  for (const DenseFfn& expert : experts_) {
    blocks = std::max(blocks, expert.ScratchSize(num_tokens));
  }
  for (const DenseFfn& expert : shared_experts_) {
    blocks = std::max(blocks, expert.ScratchSize(num_tokens));
  }
  return Scratch::Rounded(num_tokens * num_experts()) +
         2 * Scratch::Rounded(num_tokens * router_->in_dim()) + blocks;
}

MoeFfn::Groups::Groups(std::size_t num_experts, std::size_t num_tokens,
                       Scratch* scratch)
    : num_tokens_(num_tokens),
      counts_(scratch->TakeHost<std::size_t>(num_experts)),
      rows_(scratch->TakeHost<std::int32_t>(num_experts * num_tokens)),
      weights_(scratch->TakeHost<float>(num_experts * num_tokens)) {
  std::fill(counts_.begin(), counts_.end(), 0);
}

void MoeFfn::Groups::Add(std::size_t expert, std::int32_t row, float weight) {
  const std::size_t place = expert * num_tokens_ + counts_[expert]++;
  rows_[place] = row;
  weights_[place] = weight;
}

void MoeFfn::Choose(absl::Span<const float> logits, Scratch* scratch,
                    absl::Span<int> experts, absl::Span<float> weights) const {
  const auto preference = [&](int e) {
    const auto i = static_cast<std::size_t>(e);
    return logits[i] + selection_bias_[i];
  };
  std::iota(experts.begin(), experts.end(), 0);
  std::partial_sort(experts.begin(), experts.begin() + top_k_, experts.end(),
                    [&](int a, int b) {
                      const float pa = preference(a);
                      const float pb = preference(b);
                      return pa != pb ? pa > pb : a < b;
                    });
  const Scratch::Scope scope(scratch);
  const absl::Span<const float> scores = Scores(scores_, logits, scratch);
  float sum = 0.0F;
  for (std::size_t slot = 0; slot < weights.size(); ++slot) {
    weights[slot] = scores[static_cast<std::size_t>(experts[slot])];
    sum += weights[slot];
  }
  for (float& weight : weights) weight /= sum;
}

MoeFfn::Groups MoeFfn::Route(absl::Span<const std::int32_t> indptr,
                             absl::Span<const float> logits,
                             Scratch* scratch) const {
  Groups groups(experts_.size(), static_cast<std::size_t>(indptr.back()),
                scratch);
  const Scratch::Scope scope(scratch);
  if (choice_ == MoeChoice::kByExpert) {
    RouteByExpert(indptr, logits, scratch, &groups);
  } else {
    RouteByToken(indptr, logits, scratch, &groups);
  }
  return groups;
}

void MoeFfn::RouteByExpert(absl::Span<const std::int32_t> indptr,
                           absl::Span<const float> logits, Scratch* scratch,
                           Groups* groups) const {
  const std::size_t num_experts = experts_.size();
  const absl::Span<const float> scores = Scores(scores_, logits, scratch);
  const auto rows =
      scratch->TakeHost<std::int32_t>(static_cast<std::size_t>(indptr.back()));
  for (std::size_t b = 0; b + 1 < indptr.size(); ++b) {
    const std::int32_t count = indptr[b + 1] - indptr[b];
    if (count == 0) continue;
    const auto share = static_cast<std::int64_t>(
        std::ceil(capacity_factor_ * static_cast<double>(count)));
    const std::int64_t taken =
        std::min<std::int64_t>(count, std::max<std::int64_t>(1, share));
    for (std::size_t e = 0; e < num_experts; ++e) {
      const auto score = [&](std::int32_t row) {
        return scores[static_cast<std::size_t>(row) * num_experts + e];
      };
      std::iota(rows.begin(), rows.begin() + count, indptr[b]);
      std::partial_sort(
          rows.begin(), rows.begin() + taken, rows.begin() + count,
          [&](std::int32_t x, std::int32_t y) {
            return score(x) != score(y) ? score(x) > score(y) : x < y;
          });
      for (std::int64_t i = 0; i < taken; ++i) {
        const std::int32_t row = rows[static_cast<std::size_t>(i)];
        groups->Add(e, row, score(row));
      }
    }
  }
}

void MoeFfn::RouteByToken(absl::Span<const std::int32_t> indptr,
                          absl::Span<const float> logits, Scratch* scratch,
                          Groups* groups) const {
  const std::size_t num_experts = experts_.size();
  const auto slots = static_cast<std::size_t>(top_k_);
  const auto experts = scratch->TakeHost<int>(num_experts);
  const auto weights = scratch->TakeHost<float>(slots);
  // Capacity is counted per session, slot and expert: neighbours do not share.
  const auto taken = scratch->TakeHost<std::int64_t>(num_experts * slots);
  for (std::size_t b = 0; b + 1 < indptr.size(); ++b) {
    const std::int32_t begin = indptr[b];
    const std::int32_t end = indptr[b + 1];
    const double share = static_cast<double>(end - begin) * top_k_ /
                         static_cast<double>(num_experts) * capacity_factor_;
    const std::int64_t capacity =
        capacity_factor_ > 0.0
            ? std::max<std::int64_t>(
                  1, static_cast<std::int64_t>(std::ceil(share)))
            : end - begin;
    std::fill(taken.begin(), taken.end(), 0);
    for (std::int32_t row = begin; row < end; ++row) {
      Choose(logits.subspan(static_cast<std::size_t>(row) * num_experts,
                            num_experts),
             scratch, experts, weights);
      for (std::size_t slot = 0; slot < slots; ++slot) {
        const auto expert = static_cast<std::size_t>(experts[slot]);
        if (taken[slot * num_experts + expert]++ >= capacity) continue;
        groups->Add(expert, row, weights[slot]);
      }
    }
  }
}

void MoeFfn::AddTo(const KernelSet& kernels,
                   absl::Span<const std::int32_t> indptr, const float* x,
                   Scratch* scratch, float* residual) const {
  const std::int64_t num_tokens = indptr.back();
  const std::int64_t dim = router_->in_dim();
  const Scratch::Scope scope(scratch);
  float* logits = scratch->Take(num_tokens * num_experts());
  float* gathered = scratch->Take(num_tokens * dim);
  float* answers = scratch->Take(num_tokens * dim);
  kernels.Linear({router_.get(), x, num_tokens, logits});
  const auto host = scratch->TakeHost<float>(
      static_cast<std::size_t>(num_tokens * num_experts()));
  kernels.CopyToHost(logits, num_tokens * num_experts(), host.data());
  kernels.Synchronize();
  const Groups groups = Route(indptr, host, scratch);
  for (std::size_t e = 0; e < experts_.size(); ++e) {
    const absl::Span<const std::int32_t> rows = groups.rows(e);
    if (rows.empty()) continue;
    kernels.GatherRows(x, dim, rows, gathered);
    const auto count = static_cast<std::int64_t>(rows.size());
    kernels.Zero(answers, count * dim);
    experts_[e].AddTo(kernels, gathered, count, scratch, answers);
    kernels.AddScaledRows(answers, dim, rows, groups.weights(e), residual);
  }
  for (const DenseFfn& expert : shared_experts_) {
    expert.AddTo(kernels, x, num_tokens, scratch, residual);
  }
}

}  // namespace stepd
