// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// A norm with its weights resident on the device.
//
// Thread safety: thread-safe once built.

#ifndef STEPD_MODEL_LAYERS_NORM_H_
#define STEPD_MODEL_LAYERS_NORM_H_

#include <cstddef>
#include <cstdint>

#include "ATen/core/Tensor.h"
#include "model/decoder/decoder_config.h"
#include "model/kernels/kernel_set.h"

namespace stepd {

class Norm {
 public:
  Norm(const NormConfig& config, const kernels::KernelSet& kernels);

  std::int64_t dim() const { return weight_.size(-1); }
  std::size_t num_banks() const {
    const bool is_banked = weight_.defined() && weight_.dim() == 2;
    return is_banked ? static_cast<std::size_t>(weight_.size(0)) : 1;
  }

  // y = norm(x), per row, with the weights of one bank; x [rows, D], y may be
  // x.
  void Apply(const kernels::KernelSet& kernels, const float* x,
             std::int64_t rows, float* y, std::size_t bank = 0) const;

  // y = shift + scale * norm(x) with vectors of `dim` on the device instead of
  // the norm's own weights. REQUIRES: the norm is of kind kLayer.
  struct Vectors {
    const float* scale = nullptr;
    const float* shift = nullptr;
    std::int64_t dim = 0;
  };
  void ApplyWith(const kernels::KernelSet& kernels, const Vectors& vectors,
                 const float* x, std::int64_t rows, float* y) const;

  // Apply() for every head, in place. REQUIRES: the norm is of kind kRms.
  void ApplyToHeads(const kernels::KernelSet& kernels,
                    const kernels::HeadRows& heads) const;

 private:
  NormKind kind_;
  at::Tensor weight_;  // [D], or [banks, D]
  at::Tensor bias_;    // likewise, or undefined
  float eps_;
};

}  // namespace stepd

#endif  // STEPD_MODEL_LAYERS_NORM_H_
