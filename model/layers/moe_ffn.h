// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Mixture of experts (arXiv:2101.03961): every token goes to a few experts;
// rows are grouped by expert, one dense block per group.
//
// Thread safety: thread-safe once built.

#ifndef STEPD_MODEL_LAYERS_MOE_FFN_H_
#define STEPD_MODEL_LAYERS_MOE_FFN_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "model/decoder/decoder_config.h"
#include "model/kernels/kernel_set.h"
#include "model/layers/dense_ffn.h"
#include "model/layers/scratch.h"

namespace stepd {

class MoeFfn {
 public:
  MoeFfn(const MoeConfig& config, const kernels::KernelSet& kernels);

  // Scratch floats for `num_tokens` rows.
  std::int64_t ScratchSize(std::int64_t num_tokens) const;

  // residual += moe(x); x [N, D] is normed already. `indptr` [B + 1] says which
  // rows are one session's. A token's sum goes over its experts in the order of
  // their indices.
  void AddTo(const kernels::KernelSet& kernels,
             absl::Span<const std::int32_t> indptr, const float* x,
             Scratch* scratch, float* residual) const;

 private:
  // The tokens of every expert, and their weights.
  class Groups {
   public:
    Groups(std::size_t num_experts, std::size_t num_tokens, Scratch* scratch);

    void Add(std::size_t expert, std::int32_t row, float weight);
    absl::Span<const std::int32_t> rows(std::size_t expert) const {
      return rows_.subspan(expert * num_tokens_, counts_[expert]);
    }
    absl::Span<const float> weights(std::size_t expert) const {
      return weights_.subspan(expert * num_tokens_, counts_[expert]);
    }

   private:
    std::size_t num_tokens_;
    absl::Span<std::size_t> counts_;  // [E]
    absl::Span<std::int32_t> rows_;   // [E, N]
    absl::Span<float> weights_;       // [E, N]
  };

  // Groups by expert, from the router's logits [N, E], on the host.
  Groups Route(absl::Span<const std::int32_t> indptr,
               absl::Span<const float> logits, Scratch* scratch) const;
  void RouteByToken(absl::Span<const std::int32_t> indptr,
                    absl::Span<const float> logits, Scratch* scratch,
                    Groups* groups) const;
  void RouteByExpert(absl::Span<const std::int32_t> indptr,
                     absl::Span<const float> logits, Scratch* scratch,
                     Groups* groups) const;
  // The top_k experts of one token come first in `experts` [E], best first, and
  // their weights in `weights` [top_k].
  void Choose(absl::Span<const float> logits, Scratch* scratch,
              absl::Span<int> experts, absl::Span<float> weights) const;

  std::int64_t num_experts() const {
    return static_cast<std::int64_t>(experts_.size());
  }

  MoeChoice choice_;
  RouterScores scores_;
  int top_k_;
  double capacity_factor_;
  std::vector<float> selection_bias_;              // [E]
  std::unique_ptr<kernels::PackedLinear> router_;  // [E, D]
  std::vector<DenseFfn> experts_;
  std::vector<DenseFfn> shared_experts_;
};

}  // namespace stepd

#endif  // STEPD_MODEL_LAYERS_MOE_FFN_H_
