// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// A softmax that sees its logits piece by piece (Milakov and Gimelshein,
// "Online normalizer calculation for softmax", 2018): the weights of what was
// seen are kept relative to the highest logit so far.
//
// Thread safety: plain values.

#ifndef STEPD_MODEL_KERNELS_ONLINE_SOFTMAX_H_
#define STEPD_MODEL_KERNELS_ONLINE_SOFTMAX_H_

#include <math.h>

#include "model/kernels/host_device.h"

namespace stepd::kernels {

struct OnlineSoftmax {
  float highest = -INFINITY;  // logit so far; -infinity: nothing was seen
  float sum = 0.0F;           // of exp(logit - highest)

  STEPD_HOST_DEVICE bool is_empty() const { return highest == -INFINITY; }

  // Makes room for logits up to `logit`; what was added up of the weights
  // before is to be multiplied by the result.
  STEPD_HOST_DEVICE float Raise(float logit) {
    if (logit <= highest) return 1.0F;
    const float scale = is_empty() ? 0.0F : expf(highest - logit);
    highest = logit;
    sum *= scale;
    return scale;
  }

  // The weight of a logit that is not above the highest.
  // REQUIRES: something was seen.
  STEPD_HOST_DEVICE float Weight(float logit) const {
    return logit == -INFINITY ? 0.0F : expf(logit - highest);
  }
};

}  // namespace stepd::kernels

#endif  // STEPD_MODEL_KERNELS_ONLINE_SOFTMAX_H_
