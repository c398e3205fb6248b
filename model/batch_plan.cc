// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/batch_plan.h"

#include <algorithm>

namespace stepd {

void BatchPlan::Assign(const StepBatch& batch) {
  PlanRows(batch);
  layout_.Clear();
  prefixes_.clear();
  if (embedder_.num_banks() > 1) {
    layout_.banks.Assign(embed_plan_.token_banks, embedder_.num_banks());
  }
  layout_.is_final =
      std::all_of(batch.slices.begin(), batch.slices.end(),
                  [](const SessionSlice& slice) { return slice.is_final; });
  layout_.query_indptr.push_back(0);
  layout_.block_indptr.push_back(0);
  std::size_t step = 0;
  for (std::size_t i = 0; i < batch.slices.size(); ++i) {
    const SessionSlice& slice = batch.slices[i];
    if (options_.num_prefix_tokens > 0 && slice.num_cached_tokens == 0) {
      prefixes_.push_back({i, layout_.num_tokens()});
    }
    LayOutSlice(slice, step);
    step += slice.steps.size();
  }
}

void BatchPlan::Pad(std::int64_t num_slices, int tokens_per_step,
                    std::int64_t context_capacity) {
  layout_.context_capacity = context_capacity;
  layout_.is_final = false;
  while (static_cast<std::int64_t>(layout_.kv_lens.size()) < num_slices) {
    for (int t = 0; t < tokens_per_step; ++t) {
      layout_.positions.push_back(0);
      if (!options_.has_cache) continue;
      layout_.token_blocks.push_back(-1);
      layout_.token_offsets.push_back(0);
    }
    const auto end = static_cast<std::int32_t>(layout_.num_tokens());
    layout_.answered_rows.push_back(end - 1);
    layout_.query_indptr.push_back(end);
    layout_.block_indptr.push_back(layout_.block_indptr.back());
    layout_.kv_lens.push_back(0);
  }
  embed_plan_.num_rows = layout_.num_tokens();
}

void BatchPlan::PlanRows(const StepBatch& batch) {
  steps_.clear();
  gaps_.clear();
  for (const SessionSlice& slice : batch.slices) {
    if (options_.num_prefix_tokens > 0 && slice.num_cached_tokens == 0) {
      gaps_.push_back(
          {steps_.size(), options_.num_prefix_tokens, options_.prefix.bank});
    }
    steps_.insert(steps_.end(), slice.steps.begin(), slice.steps.end());
  }
  embedder_.Plan(steps_, gaps_, &embed_plan_);
}

// `first_step` is the slice's first step in the plan.
void BatchPlan::LayOutSlice(const SessionSlice& slice, std::size_t first_step) {
  const std::size_t num_steps = slice.steps.size();
  // The place in the session, which the steps' positions may be counted apart
  // from.
  std::int64_t place = slice.num_cached_tokens;
  if (place == 0) {
    for (; place < options_.num_prefix_tokens; ++place) {
      AddToken(slice, place, place);
    }
  }
  const std::int64_t first_position =
      options_.prefix.has_own_positions ? options_.num_prefix_tokens : 0;
  for (std::size_t i = 0; i < num_steps; ++i) {
    const int num_tokens = embed_plan_.num_tokens[first_step + i];
    for (int t = 0; t < num_tokens; ++t, ++place) {
      AddToken(slice, place, place - first_position);
    }
    if (num_steps - i <= static_cast<std::size_t>(slice.num_answered)) {
      layout_.answered_rows.push_back(
          static_cast<std::int32_t>(layout_.num_tokens()) - 1);
    }
  }
  layout_.query_indptr.push_back(
      static_cast<std::int32_t>(layout_.num_tokens()));
  layout_.block_indices.insert(layout_.block_indices.end(),
                               slice.blocks.begin(), slice.blocks.end());
  layout_.block_indptr.push_back(
      static_cast<std::int32_t>(layout_.block_indices.size()));
  layout_.kv_lens.push_back(static_cast<std::int32_t>(place));
}

void BatchPlan::AddToken(const SessionSlice& slice, std::int64_t place,
                         std::int64_t position) {
  layout_.positions.push_back(static_cast<std::int32_t>(position));
  if (!options_.has_cache) return;
  const std::int64_t block = place / options_.tokens_per_block;
  layout_.token_blocks.push_back(slice.blocks[static_cast<std::size_t>(block)]);
  layout_.token_offsets.push_back(
      static_cast<std::int32_t>(place % options_.tokens_per_block));
}

}  // namespace stepd
