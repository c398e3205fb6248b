// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// A dense feed-forward block per bank of tokens.
//
// Thread safety: thread-safe once built.

#ifndef STEPD_MODEL_LAYERS_BANKED_FFN_H_
#define STEPD_MODEL_LAYERS_BANKED_FFN_H_

#include <cstdint>
#include <variant>
#include <vector>

#include "model/decoder/decoder_config.h"
#include "model/kernels/kernel_set.h"
#include "model/layers/dense_ffn.h"
#include "model/layers/moe_ffn.h"
#include "model/layers/scratch.h"

namespace stepd {

class BankedFfn {
 public:
  BankedFfn(const BankedFfnConfig& config, const kernels::KernelSet& kernels);

  // Scratch floats for `num_tokens` rows.
  std::int64_t ScratchSize(std::int64_t num_tokens) const;

  // residual += ffn(x); x [layout.num_tokens(), D] is normed already.
  void AddTo(const kernels::KernelSet& kernels,
             const kernels::BatchLayout& layout, const float* x,
             Scratch* scratch, float* residual) const;

 private:
  std::int64_t dim_;
  std::vector<std::variant<DenseFfn, MoeFfn>> banks_;
};

}  // namespace stepd

#endif  // STEPD_MODEL_LAYERS_BANKED_FFN_H_
