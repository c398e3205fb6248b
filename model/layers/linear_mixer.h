// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// One linear in the place of an attention or feed-forward block (Puzzle,
// arXiv:2411.19146).
//
// Thread safety: thread-safe once built.

#ifndef STEPD_MODEL_LAYERS_LINEAR_MIXER_H_
#define STEPD_MODEL_LAYERS_LINEAR_MIXER_H_

#include <cstdint>
#include <memory>

#include "model/decoder/decoder_config.h"
#include "model/kernels/kernel_set.h"
#include "model/layers/attention_inputs.h"
#include "model/layers/scratch.h"

namespace stepd {

class LinearMixerLayer {
 public:
  LinearMixerLayer(const LinearMixer& config, const kernels::KernelSet& kernels)
      : linear_(kernels.Pack({config.linear})) {}

  std::int64_t ScratchSize(std::int64_t /*num_tokens*/) const { return 0; }

  // residual += W x; x is normed already. As a feed-forward block,
  void AddTo(const kernels::KernelSet& kernels, const float* x,
             std::int64_t num_tokens, Scratch* /*scratch*/,
             float* residual) const {
    kernels.Linear(
        {linear_.get(), x, num_tokens, residual, kernels::LinearOutput::kAdd});
  }
  // and as an attention block: caches nothing.
  void AddTo(const kernels::KernelSet& kernels, const AttentionInputs& inputs,
             const float* x, float* residual) const {
    AddTo(kernels, x, inputs.layout->num_tokens(), inputs.scratch, residual);
  }

 private:
  std::unique_ptr<kernels::PackedLinear> linear_;  // [D, D]
};

}  // namespace stepd

#endif  // STEPD_MODEL_LAYERS_LINEAR_MIXER_H_
