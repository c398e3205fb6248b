// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// stepd's own kernels for one NVIDIA GPU. Weights, keys and values are float32
// or bfloat16, everything else is float32. Calls go to the queue that the
// thread uses (CreateQueue(), DeviceQueue::Use()) and return at once.
//
// Thread safety: thread-safe; a queue is one thread's at a time. Errors:
// exceptions of LibTorch, and std::runtime_error from CUDA.

#ifndef STEPD_MODEL_KERNELS_CUDA_CUDA_KERNEL_SET_H_
#define STEPD_MODEL_KERNELS_CUDA_CUDA_KERNEL_SET_H_

#include <memory>

#include "model/kernels/cuda_backend.h"
#include "model/kernels/kernel_set.h"

namespace stepd::kernels::cuda {

std::unique_ptr<KernelSet> MakeCudaKernelSet(const CudaOptions& options);

}  // namespace stepd::kernels::cuda

#endif  // STEPD_MODEL_KERNELS_CUDA_CUDA_KERNEL_SET_H_
