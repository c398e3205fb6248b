// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/layers/norm.h"

namespace stepd {

Norm::Norm(const NormConfig& config, const kernels::KernelSet& kernels)
    : weight_(kernels::ToDevice(kernels, config.weight)), eps_(config.eps) {}

void Norm::Apply(const kernels::KernelSet& kernels, const float* x,
                 std::int64_t rows, float* y) const {
  kernels.RmsNorm(x, rows, weight_.numel(), weight(), eps_, y);
}

}  // namespace stepd
