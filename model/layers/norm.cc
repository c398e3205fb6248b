// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/layers/norm.h"

namespace stepd {

using kernels::KernelSet;

Norm::Norm(const NormConfig& config, const KernelSet& kernels)
    : kind_(config.kind),
      weight_(kernels::ToDevice(kernels, config.weight)),
      bias_(kernels::ToDevice(kernels, config.bias)),
      eps_(config.eps) {}

void Norm::Apply(const KernelSet& kernels, const float* x, std::int64_t rows,
                 float* y) const {
  const std::int64_t dim = weight_.numel();
  const float* weight = weight_.const_data_ptr<float>();
  if (kind_ == NormKind::kRms) {
    kernels.RmsNorm(x, rows, dim, weight, eps_, y);
    return;
  }
  const float* bias = bias_.defined() ? bias_.const_data_ptr<float>() : nullptr;
  kernels.LayerNorm(x, rows, dim, {weight, bias, eps_}, y);
}

void Norm::ApplyToHeads(const KernelSet& kernels,
                        const kernels::HeadRows& heads) const {
  kernels.NormHeads(heads, weight_.const_data_ptr<float>(), eps_);
}

}  // namespace stepd
