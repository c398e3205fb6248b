// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The weights of one linear as a checkpoint stores them.
//
// Thread safety: plain values.

#ifndef STEPD_MODEL_LINEAR_WEIGHTS_H_
#define STEPD_MODEL_LINEAR_WEIGHTS_H_

#include <cstdint>

#include "ATen/core/Tensor.h"

namespace stepd {

// y = W x + b. On the CPU, in the checkpoint's floating dtype.
struct LinearWeights {
  at::Tensor weight;  // [out, in]
  at::Tensor bias;    // [out], or undefined

  std::int64_t in_dim() const { return weight.size(1); }
  std::int64_t out_dim() const { return weight.size(0); }
};

}  // namespace stepd

#endif  // STEPD_MODEL_LINEAR_WEIGHTS_H_
