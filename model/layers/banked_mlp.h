// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Linears in a row with weights per bank of tokens, an activation between
// them. One linear is a banked linear.
//
// Thread safety: thread-safe once built.

#ifndef STEPD_MODEL_LAYERS_BANKED_MLP_H_
#define STEPD_MODEL_LAYERS_BANKED_MLP_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "model/kernels/kernel_set.h"
#include "model/kinds.h"
#include "model/layers/scratch.h"
#include "model/linear_weights.h"

namespace stepd {

struct BankedMlpConfig {
  // By layer, then by bank; the same number of banks in every layer.
  std::vector<std::vector<LinearWeights>> layers;
  Activation activation = Activation::kGelu;  // after every layer but the last
};

class BankedMlp {
 public:
  BankedMlp(const BankedMlpConfig& config, const kernels::KernelSet& kernels);

  std::int64_t in_dim() const { return layers_.front().front()->in_dim(); }
  std::int64_t out_dim() const { return layers_.back().front()->out_dim(); }
  std::size_t num_banks() const { return layers_.front().size(); }
  // Scratch floats for `num_tokens` rows.
  std::int64_t ScratchSize(std::int64_t num_tokens) const;

  // y [N, out_dim()] = mlp(x), x [N, in_dim()] for the rows of `layout`.
  void Apply(const kernels::KernelSet& kernels,
             const kernels::BatchLayout& layout, const float* x,
             Scratch* scratch, float* y) const;

 private:
  Activation activation_;
  std::vector<std::vector<std::unique_ptr<kernels::PackedLinear>>> layers_;
};

}  // namespace stepd

#endif  // STEPD_MODEL_LAYERS_BANKED_MLP_H_
