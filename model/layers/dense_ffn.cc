// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/layers/dense_ffn.h"

namespace stepd {

using kernels::LinearOutput;

DenseFfn::DenseFfn(const DenseFfnConfig& config,
                   const kernels::KernelSet& kernels)
    : gate_up_(kernels.Pack({config.gate, config.up})),
      down_(kernels.Pack({config.down})) {}

std::int64_t DenseFfn::ScratchSize(std::int64_t num_tokens) const {
  return Scratch::Rounded(num_tokens * gate_up_->out_dim()) +
         Scratch::Rounded(num_tokens * down_->in_dim());
}

void DenseFfn::AddTo(const kernels::KernelSet& kernels, const float* x,
                     std::int64_t num_tokens, Scratch* scratch,
                     float* residual) const {
  const Scratch::Scope scope(scratch);
  float* gate_up = scratch->Take(num_tokens * gate_up_->out_dim());
  float* gated = scratch->Take(num_tokens * down_->in_dim());
  kernels.Linear(*gate_up_, x, num_tokens, gate_up, LinearOutput::kStore);
  kernels.SiluGate(gate_up, num_tokens, down_->in_dim(), gated);
  kernels.Linear(*down_, gated, num_tokens, residual, LinearOutput::kAdd);
}

}  // namespace stepd
