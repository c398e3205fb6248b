// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/kernels/cpu_kernels.h"

namespace stepd::kernels {

const CpuKernels& BestCpuKernels() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl")) {
    return __builtin_cpu_supports("avx512bf16") ? Avx512Bf16CpuKernels()
                                                : Avx512CpuKernels();
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    return Avx2CpuKernels();
  }
#endif
  return PortableCpuKernels();
}

}  // namespace stepd::kernels
