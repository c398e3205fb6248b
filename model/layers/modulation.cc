// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/layers/modulation.h"

#include <cstdint>

#include "ATen/Functions.h"

namespace stepd {

using kernels::KernelSet;

namespace {

// The 1 of every 1 + scale, in the bias.
LinearWeights WithOnes(const ModulationConfig& config) {
  LinearWeights project = config.project;
  project.bias = project.bias.to(at::kFloat).clone();
  for (const std::int64_t scale : {0, 3}) {
    project.bias.narrow(0, scale * config.dim, config.dim).add_(1.0);
  }
  return project;
}

}  // namespace

Modulation::Modulation(const ModulationConfig& config, const KernelSet& kernels)
    : project_(kernels.Pack({WithOnes(config)})) {}

void Modulation::Prepare(const KernelSet& kernels, const float* condition,
                         float* out) const {
  kernels.Linear({project_.get(), condition, 1, out});
}

}  // namespace stepd
