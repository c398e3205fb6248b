// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include <cuda_runtime_api.h>

#include "model/kernels/cuda/cuda_kernel_set.h"
#include "model/kernels/cuda_backend.h"

namespace stepd::kernels::cuda {
namespace {

int CountDevices(std::string* error) {
  int count = 0;
  const cudaError_t result = cudaGetDeviceCount(&count);
  if (result == cudaSuccess && count > 0) return count;
  *error = result == cudaSuccess ? "there is none" : cudaGetErrorString(result);
  return 0;
}

KernelSet* Create(const CudaOptions& options) {
  return MakeCudaKernelSet(options).release();
}

}  // namespace
}  // namespace stepd::kernels::cuda

extern "C" __attribute__((visibility("default")))
// NOLINTNEXTLINE(readability-identifier-naming): it is looked up by this name.
const stepd::kernels::CudaBackend stepd_cuda_backend = {
    stepd::kernels::cuda::CountDevices, stepd::kernels::cuda::Create};
