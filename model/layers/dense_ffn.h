// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The gated feed-forward block (SwiGLU, arXiv:2002.05202).
//
// Thread safety: thread-safe once built.

#ifndef STEPD_MODEL_LAYERS_DENSE_FFN_H_
#define STEPD_MODEL_LAYERS_DENSE_FFN_H_

#include <cstdint>
#include <memory>

#include "model/decoder/decoder_config.h"
#include "model/kernels/kernel_set.h"
#include "model/layers/scratch.h"

namespace stepd {

class DenseFfn {
 public:
  DenseFfn(const DenseFfnConfig& config, const kernels::KernelSet& kernels);

  // Scratch floats for `num_tokens` rows.
  std::int64_t ScratchSize(std::int64_t num_tokens) const;

  // residual += ffn(x); x [num_tokens, D] is normed already.
  void AddTo(const kernels::KernelSet& kernels, const float* x,
             std::int64_t num_tokens, Scratch* scratch, float* residual) const;

 private:
  std::unique_ptr<kernels::PackedLinear> gate_up_;  // [2F, D]
  std::unique_ptr<kernels::PackedLinear> down_;     // [D, F]
};

}  // namespace stepd

#endif  // STEPD_MODEL_LAYERS_DENSE_FFN_H_
