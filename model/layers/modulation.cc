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
  const std::int64_t dim = config.dim;
  project.bias.narrow(0, 0, dim).add_(1.0);
  project.bias.narrow(0, 3 * dim, dim).add_(1.0);
  project.bias.narrow(0, 6 * dim, config.source_dim).add_(1.0);
  return project;
}

}  // namespace

Modulation::Modulation(const ModulationConfig& config, const KernelSet& kernels)
    : source_offset_(6 * config.dim),
      project_(kernels.Pack({WithOnes(config)})) {}

void Modulation::Prepare(const KernelSet& kernels, const float* condition,
                         float* out) const {
  kernels.Linear({project_.get(), condition, 1, out});
}

}  // namespace stepd
