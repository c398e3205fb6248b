// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#define STEPD_PANEL_VECTORS 2
#define STEPD_TILE_ROWS 12
#include "model/kernels/cpu_kernels.inc"

namespace stepd::kernels {

const CpuKernels& Avx512Bf16CpuKernels() {
  static constexpr CpuKernels kKernels = MakeKernels("avx512_bf16");
  return kKernels;
}

}  // namespace stepd::kernels
