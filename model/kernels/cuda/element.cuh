// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Elements of keys and values in either precision, and sums over a warp.

#ifndef STEPD_MODEL_KERNELS_CUDA_ELEMENT_CUH_
#define STEPD_MODEL_KERNELS_CUDA_ELEMENT_CUH_

#include <cuda_bf16.h>
#include <stdint.h>

namespace stepd::kernels::cuda {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffU;

__device__ inline float ToFloat(float x) { return x; }
__device__ inline float ToFloat(__nv_bfloat16 x) { return __bfloat162float(x); }

template <typename T>
__device__ inline T FromFloat(float x);
template <>
__device__ inline float FromFloat<float>(float x) {
  return x;
}
template <>
__device__ inline __nv_bfloat16 FromFloat<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}

// Two neighbours at an even index.
__device__ inline float2 LoadPair(const float* x) {
  return *reinterpret_cast<const float2*>(x);
}
__device__ inline float2 LoadPair(const __nv_bfloat16* x) {
  return __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(x));
}

// 16 bytes of elements.
template <typename T>
struct Vector {
  static constexpr int kSize = 16 / static_cast<int>(sizeof(T));
  uint4 bits;

  __device__ T element(int i) const {
    return reinterpret_cast<const T*>(&bits)[i];
  }
};

// The same result in every lane; added up in one fixed order.
__device__ inline float WarpSum(float x) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    x += __shfl_xor_sync(kAllLanes, x, offset);
  }
  return x;
}

__device__ inline float WarpMax(float x) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, offset));
  }
  return x;
}

}  // namespace stepd::kernels::cuda

#endif  // STEPD_MODEL_KERNELS_CUDA_ELEMENT_CUH_
