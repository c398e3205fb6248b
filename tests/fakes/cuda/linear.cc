// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What cuBLASLt computes, one product after another.

#include "model/kernels/cuda/linear.h"

#include <cuda_bf16.h>

namespace stepd::kernels::cuda {
namespace {

float At(const void* x, std::int64_t i, bool is_bfloat16) {
  return is_bfloat16 ? __bfloat162float(static_cast<const __nv_bfloat16*>(x)[i])
                     : static_cast<const float*>(x)[i];
}

void Multiply(const LinearArgs& args) {
  for (std::int64_t row = 0; row < args.rows; ++row) {
    for (std::int64_t o = 0; o < args.out_dim; ++o) {
      float sum = 0.0F;
      for (std::int64_t i = 0; i < args.in_dim; ++i) {
        sum += At(args.weights, o * args.in_dim + i, args.is_bfloat16) *
               At(args.x, row * args.x_stride + i, args.is_bfloat16);
      }
      float& y = args.y[row * args.y_stride + o];
      y = args.is_add ? y + sum : sum;
    }
  }
}

}  // namespace

struct LinearPlans::Plan {};

LinearPlans::LinearPlans(bool is_deterministic)
    : is_deterministic_(is_deterministic) {}
LinearPlans::~LinearPlans() = default;

void LinearPlans::Run(const LinearArgs& args, cudaStream_t stream) {
  stream->Run([=] { Multiply(args); });
}

}  // namespace stepd::kernels::cuda
