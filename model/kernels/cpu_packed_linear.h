// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Weights of one linear as the CPU kernels read them: panels of columns,
// k-major, so that a tile of rows streams through one panel with unit stride.
// In bfloat16 two neighbouring k share a 32-bit word.
//
// Thread safety: immutable once built.

#ifndef STEPD_MODEL_KERNELS_CPU_PACKED_LINEAR_H_
#define STEPD_MODEL_KERNELS_CPU_PACKED_LINEAR_H_

#include <cstdint>

#include "absl/types/span.h"
#include "model/kernels/cpu_kernels.h"
#include "model/kernels/kernel_set.h"
#include "model/kernels/weight_arena.h"

namespace stepd::kernels {

class CpuPackedLinear : public PackedLinear {
 public:
  // The weights live in `arena`, which must outlive this.
  // REQUIRES: as KernelSet::Pack().
  CpuPackedLinear(absl::Span<const LinearWeights> parts,
                  WeightPrecision precision, const CpuKernels& kernels,
                  WeightArena* arena);

  WeightPrecision precision() const { return precision_; }
  // [ceil(out / panel)][in_words()][panel] words, zero-padded.
  const float* panels() const { return panels_; }
  // [ceil(out / panel) * panel], or nullptr.
  const float* bias() const { return bias_; }
  // 32-bit words of a row of x: one element, or two in bfloat16.
  std::int64_t in_words() const;

 private:
  WeightPrecision precision_;
  float* panels_ = nullptr;
  float* bias_ = nullptr;
};

}  // namespace stepd::kernels

#endif  // STEPD_MODEL_KERNELS_CPU_PACKED_LINEAR_H_
