// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The closed choices that descriptions make and kernels carry out.

#ifndef STEPD_MODEL_KINDS_H_
#define STEPD_MODEL_KINDS_H_

namespace stepd {

enum class Activation {
  kSilu,  // x / (1 + e^-x)
  kGelu,  // exact, with erf
  kRelu,
  kLeakyRelu,  // x > 0 ? x : x / 100
  kElu,        // x > 0 ? x : e^x - 1
  kSoftplus,   // log(1 + e^x); x above 20
  kSigmoid,    // 1 / (1 + e^-x)
  kTanh,
};

// Which two elements of a head of size E turn together.
// How the weights of a policy's large matrices are kept, and what they are
// multiplied with is rounded to. Sums are float32 always.
enum class WeightPrecision {
  kFloat32,
  kBFloat16,
};

enum class RopePairing {
  kHalfSplit,    // i and i + E/2
  kInterleaved,  // 2i and 2i + 1
};

}  // namespace stepd

#endif  // STEPD_MODEL_KINDS_H_
