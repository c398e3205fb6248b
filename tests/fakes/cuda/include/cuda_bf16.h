// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#ifndef STEPD_TESTS_FAKES_CUDA_INCLUDE_CUDA_BF16_H_
#define STEPD_TESTS_FAKES_CUDA_INCLUDE_CUDA_BF16_H_

#include <cuda_runtime.h>
#include <string.h>

// The upper half of a float32.
struct __nv_bfloat16 {
  uint16_t bits;
};
struct __nv_bfloat162 {
  __nv_bfloat16 x;
  __nv_bfloat16 y;
};

inline float __bfloat162float(__nv_bfloat16 x) {
  const uint32_t bits = uint32_t{x.bits} << 16;
  float value = 0.0F;
  memcpy(&value, &bits, sizeof(value));
  return value;
}
inline float2 __bfloat1622float2(__nv_bfloat162 x) {
  return {__bfloat162float(x.x), __bfloat162float(x.y)};
}
// To nearest even.
inline __nv_bfloat16 __float2bfloat16_rn(float x) {
  uint32_t bits = 0;
  memcpy(&bits, &x, sizeof(bits));
  if (x != x) return {0x7fff};
  bits += 0x7fff + ((bits >> 16) & 1);
  return {static_cast<uint16_t>(bits >> 16)};
}

#endif  // STEPD_TESTS_FAKES_CUDA_INCLUDE_CUDA_BF16_H_
