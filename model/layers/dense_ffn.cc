// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/layers/dense_ffn.h"

namespace stepd {

DenseFfn::DenseFfn(const DenseFfnConfig& config,
                   const kernels::KernelSet& kernels)
    : activation_(config.activation),
      is_gated_(config.gate.weight.defined()),
      up_(is_gated_ ? kernels.Pack({config.gate, config.up})
                    : kernels.Pack({config.up})),
      down_(kernels.Pack({config.down})) {}

std::int64_t DenseFfn::ScratchSize(std::int64_t num_tokens) const {
  const std::int64_t gated =
      is_gated_ ? Scratch::Rounded(num_tokens * down_->in_dim()) : 0;
  return Scratch::Rounded(num_tokens * up_->out_dim()) + gated;
}

void DenseFfn::AddTo(const kernels::KernelSet& kernels, const float* x,
                     std::int64_t num_tokens, Scratch* scratch,
                     float* residual) const {
  const Scratch::Scope scope(scratch);
  const std::int64_t width = down_->in_dim();
  float* up = scratch->Take(num_tokens * up_->out_dim());
  float* activated = up;
  kernels.Linear({up_.get(), x, num_tokens, up});
  if (is_gated_) {
    activated = scratch->Take(num_tokens * width);
    kernels.ActivateGated(activation_, up, num_tokens, width, activated);
  } else {
    kernels.Activate(activation_, up, num_tokens * width);
  }
  kernels.Linear({down_.get(), activated, num_tokens, residual,
                  kernels::LinearOutput::kAdd});
}

}  // namespace stepd
