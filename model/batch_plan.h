// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// A batch as token rows: which row is whose, where its keys and values go,
// which rows are answered. A session's prefix tokens come right before its
// first step's, whenever the slice begins with them.
//
// Thread safety: none; one runner owns it.

#ifndef STEPD_MODEL_BATCH_PLAN_H_
#define STEPD_MODEL_BATCH_PLAN_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"
#include "model/embedders/embedder_config.h"
#include "model/embedders/step_embedder.h"
#include "model/kernels/kernel_set.h"
#include "model/step.h"

namespace stepd {

// The same for every batch of a policy.
struct BatchPlanOptions {
  int tokens_per_block = 16;
  bool has_cache = true;      // else slices have no blocks
  int num_prefix_tokens = 0;  // of every session
  PrefixTokens prefix;        // what they are like, if there are any
};

class BatchPlan {
 public:
  // `embedder` must outlive it.
  BatchPlan(const StepEmbedder& embedder, const BatchPlanOptions& options)
      : embedder_(embedder), options_(options) {}

  // Plans `batch`, which is borrowed until the next call. Keeps its memory.
  void Assign(const StepBatch& batch);
  // Adds slices of one answered step each, of `tokens_per_step` rows of zeros
  // that see nothing and are written nowhere, until there are `num_slices`; the
  // longest context counts as `context_capacity` at least.
  void Pad(std::int64_t num_slices, int tokens_per_step,
           std::int64_t context_capacity = 0);

  const kernels::BatchLayout& layout() const { return layout_; }
  // Rows of prefixes are left free.
  const EmbedPlan& steps() const { return embed_plan_; }
  struct Prefix {
    std::size_t slice = 0;
    std::int64_t first_row = 0;
  };
  // Of the slices that begin with their prefix.
  const std::vector<Prefix>& prefixes() const { return prefixes_; }

 private:
  void PlanRows(const StepBatch& batch);
  void LayOutSlice(const SessionSlice& slice, std::size_t first_step);
  void AddToken(const SessionSlice& slice, std::int64_t place,
                std::int64_t position);

  const StepEmbedder& embedder_;
  const BatchPlanOptions options_;
  kernels::BatchLayout layout_;
  std::vector<absl::string_view> steps_;
  std::vector<RowGap> gaps_;
  EmbedPlan embed_plan_;
  std::vector<Prefix> prefixes_;
};

}  // namespace stepd

#endif  // STEPD_MODEL_BATCH_PLAN_H_
