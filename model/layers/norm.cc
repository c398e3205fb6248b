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
                 float* y, std::size_t bank) const {
  const auto offset = static_cast<std::int64_t>(bank) * dim();
  kernels::NormParams params;
  params.x = x;
  params.rows = rows;
  params.dim = dim();
  params.weight = weight_.const_data_ptr<float>() + offset;
  params.bias =
      bias_.defined() ? bias_.const_data_ptr<float>() + offset : nullptr;
  params.eps = eps_;
  params.y = y;
  if (kind_ == NormKind::kRms) {
    kernels.RmsNorm(params);
  } else {
    kernels.LayerNorm(params);
  }
}

void Norm::ApplyWith(const KernelSet& kernels, const Vectors& vectors,
                     const float* x, std::int64_t rows, float* y) const {
  kernels::NormParams params;
  params.x = x;
  params.rows = rows;
  params.dim = vectors.dim;
  params.weight = vectors.scale;
  params.bias = vectors.shift;
  params.eps = eps_;
  params.y = y;
  kernels.LayerNorm(params);
}

void Norm::ApplyToHeads(const KernelSet& kernels,
                        const kernels::HeadRows& heads) const {
  kernels.NormHeads(heads, weight_.const_data_ptr<float>(), eps_);
}

}  // namespace stepd
