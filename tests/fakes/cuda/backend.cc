// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// model/kernels/cuda_backend.h with a GPU that is always there: tests of the
// GPU's kernels that link it run on the CPU.

#include "model/kernels/cuda/cuda_kernel_set.h"
#include "model/kernels/cuda_backend.h"

namespace stepd::kernels {

absl::Status OpenCudaBackend(int /*device*/) { return absl::OkStatus(); }

std::unique_ptr<KernelSet> CreateCudaKernelSet(const CudaOptions& options) {
  return cuda::MakeCudaKernelSet(options);
}

}  // namespace stepd::kernels
