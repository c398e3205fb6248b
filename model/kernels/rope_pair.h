// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Which elements of a head turn together, and by what (arXiv:2104.09864).

#ifndef STEPD_MODEL_KERNELS_ROPE_PAIR_H_
#define STEPD_MODEL_KERNELS_ROPE_PAIR_H_

#include <stdint.h>

#include "model/kernels/host_device.h"
#include "model/kinds.h"

namespace stepd::kernels {

struct RopePair {
  int64_t first = 0;
  int64_t second = 0;
};

// Pair `i` of a head whose first 2 * half elements turn.
STEPD_HOST_DEVICE inline RopePair FindRopePair(RopePairing pairing, int64_t i,
                                               int64_t half) {
  if (pairing == RopePairing::kHalfSplit) return {i, i + half};
  return {2 * i, 2 * i + 1};
}

STEPD_HOST_DEVICE inline void Turn(float cos, float sin, float* first,
                                   float* second) {
  const float a = *first;
  const float b = *second;
  *first = a * cos - b * sin;
  *second = b * cos + a * sin;
}

}  // namespace stepd::kernels

#endif  // STEPD_MODEL_KERNELS_ROPE_PAIR_H_
