// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#define STEPD_PANEL_VECTORS 1
#define STEPD_TILE_ROWS 2
#include "model/kernels/cpu_kernels.inc"

namespace stepd::kernels {

const CpuKernels& PortableCpuKernels() {
  static constexpr CpuKernels kKernels = MakeKernels("portable");
  return kKernels;
}

}  // namespace stepd::kernels
