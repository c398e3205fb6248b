// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// How kernels are launched, and the shared memory that a launch asks for.
//
// Errors: std::runtime_error.

#ifndef STEPD_MODEL_KERNELS_CUDA_LAUNCH_CUH_
#define STEPD_MODEL_KERNELS_CUDA_LAUNCH_CUH_

#include <cuda_runtime.h>

#include <cstddef>
#include <type_traits>

#include "model/kernels/cuda/cuda_check.h"

namespace stepd::kernels::cuda {

struct LaunchShape {
  const char* name;  // of the kernel, for people
  dim3 grid;
  unsigned threads;
  cudaStream_t stream;
  std::size_t shared_bytes = 0;  // dynamic
};

template <typename... Params>
void Launch(const LaunchShape& shape, void (*kernel)(Params...),
            const std::common_type_t<Params>&... arguments) {
  // More than 48 KiB must be asked for; asking again costs little, and the
  // limit belongs to the device that is current.
  if (shape.shared_bytes > 0) {
    Check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                               cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(shape.shared_bytes)),
          shape.name);
  }
  cudaLaunchConfig_t config = {};
  config.gridDim = shape.grid;
  config.blockDim = dim3(shape.threads);
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = shape.stream;
  Check(cudaLaunchKernelEx(&config, kernel, arguments...), shape.name);
}

// The dynamic shared memory of this block of threads, at a multiple of 16
// bytes.
#ifdef __CUDACC__
__device__ inline unsigned char* SharedMemory() {
  extern __shared__ __align__(16) unsigned char memory[];
  return memory;
}
#else
// Tests run kernels on the CPU (tests/fakes/cuda).
unsigned char* SharedMemory();
#endif

}  // namespace stepd::kernels::cuda

#endif  // STEPD_MODEL_KERNELS_CUDA_LAUNCH_CUH_
