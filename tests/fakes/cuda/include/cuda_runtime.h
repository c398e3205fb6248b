// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The part of CUDA that kernels are written in. A block's threads are fibers of
// one CPU thread (simt.h): they wait for each other where a GPU's would.

#ifndef STEPD_TESTS_FAKES_CUDA_INCLUDE_CUDA_RUNTIME_H_
#define STEPD_TESTS_FAKES_CUDA_INCLUDE_CUDA_RUNTIME_H_

#include <cuda_runtime_api.h>
#include <math.h>
#include <stdint.h>

#include <algorithm>

#include "tests/fakes/cuda/simt.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
// Blocks run one after another.
#define __shared__ static
#define __launch_bounds__(threads)

using std::max;
using std::min;

struct dim3 {
  dim3(unsigned x_size = 1, unsigned y_size = 1, unsigned z_size = 1)
      : x(x_size), y(y_size), z(z_size) {}
  unsigned x;
  unsigned y;
  unsigned z;
};
struct float2 {
  float x;
  float y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

// What the running fiber is. `gridDim` is a member's name too, so that macros
// would not do.
static thread_local const stepd::simt::Index& threadIdx =
    stepd::simt::thread_index;
static thread_local const stepd::simt::Index& blockIdx =
    stepd::simt::block_index;
static thread_local const stepd::simt::Index& gridDim = stepd::simt::grid_size;

inline void __syncthreads() { stepd::simt::SyncThreads(); }
template <typename T>
T __shfl_sync(unsigned /*mask*/, T x, int lane) {
  return stepd::simt::Shuffle(x, lane);
}
template <typename T>
T __shfl_xor_sync(unsigned /*mask*/, T x, int bits) {
  return stepd::simt::Shuffle(x, stepd::simt::ThisLane() ^ bits);
}
inline float __fmul_rn(float a, float b) { return a * b; }

struct cudaLaunchConfig_t {
  dim3 gridDim;
  dim3 blockDim;
  std::size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};

template <typename... Params, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config,
                               void (*kernel)(Params...),
                               const Arguments&... arguments) {
  const cudaLaunchConfig_t launched = *config;
  launched.stream->Run([=] {
    stepd::simt::RunGrid(
        {launched.gridDim.x, launched.gridDim.y, launched.gridDim.z},
        launched.blockDim.x, launched.dynamicSmemBytes,
        [=] { kernel(arguments...); });
  });
  return cudaSuccess;
}

#endif  // STEPD_TESTS_FAKES_CUDA_INCLUDE_CUDA_RUNTIME_H_
