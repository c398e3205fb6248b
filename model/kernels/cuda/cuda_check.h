// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Failures of the CUDA runtime as exceptions: whoever calls a kernel set
// catches them where LibTorch's are caught.

#ifndef STEPD_MODEL_KERNELS_CUDA_CUDA_CHECK_H_
#define STEPD_MODEL_KERNELS_CUDA_CUDA_CHECK_H_

#include <cuda_runtime_api.h>

#include <stdexcept>
#include <string>

namespace stepd::kernels::cuda {

// `what` names the call, for people.
inline void Check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  throw std::runtime_error(std::string("CUDA: ") + what + ": " +
                           cudaGetErrorString(error));
}

}  // namespace stepd::kernels::cuda

#endif  // STEPD_MODEL_KERNELS_CUDA_CUDA_CHECK_H_
