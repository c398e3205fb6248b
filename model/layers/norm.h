// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// A norm with its weights resident on the device.
//
// Thread safety: thread-safe once built.

#ifndef STEPD_MODEL_LAYERS_NORM_H_
#define STEPD_MODEL_LAYERS_NORM_H_

#include <cstdint>

#include "ATen/core/Tensor.h"
#include "model/decoder/decoder_config.h"
#include "model/kernels/kernel_set.h"

namespace stepd {

class Norm {
 public:
  Norm(const NormConfig& config, const kernels::KernelSet& kernels);

  // y = norm(x), per row; x [rows, D], y may be x.
  void Apply(const kernels::KernelSet& kernels, const float* x,
             std::int64_t rows, float* y) const;

  const float* weight() const { return weight_.const_data_ptr<float>(); }
  float eps() const { return eps_; }

 private:
  at::Tensor weight_;  // [D]
  float eps_;
};

}  // namespace stepd

#endif  // STEPD_MODEL_LAYERS_NORM_H_
