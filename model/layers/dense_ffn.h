// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The dense feed-forward block, with a gate (arXiv:2002.05202) or without.
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
  Activation activation_;
  bool is_gated_;
  std::unique_ptr<kernels::PackedLinear> up_;    // [2F, D]: gate, up; or [F, D]
  std::unique_ptr<kernels::PackedLinear> down_;  // [D, F]
};

}  // namespace stepd

#endif  // STEPD_MODEL_LAYERS_DENSE_FFN_H_
