// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The CUDA kernels live in a library of their own, libstepd_cuda.so, so that
// the daemon neither needs nor loads NVIDIA's libraries for the CPU. It is
// looked for at $STEPD_CUDA_LIBRARY, else beside the executable, and stays
// open.
//
// Thread safety: thread-safe.

#ifndef STEPD_MODEL_KERNELS_CUDA_BACKEND_H_
#define STEPD_MODEL_KERNELS_CUDA_BACKEND_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/kernels/kernel_set.h"

namespace stepd::kernels {

struct CudaOptions {
  int device = 0;
  WeightPrecision precision = WeightPrecision::kFloat32;
  // A session's bits do not depend on what else is in its batches.
  bool is_deterministic = false;
  // Decode steps are launched as recorded graphs where that is possible.
  bool uses_graphs = true;
};

// What libstepd_cuda.so exports under kCudaBackendName.
struct CudaBackend {
  // GPUs that work; 0 with the reason in `error`.
  int (*count_devices)(std::string* error);
  // Throws what MakeCudaKernelSet() does.
  KernelSet* (*create)(const CudaOptions& options);
};

constexpr char kCudaBackendName[] = "stepd_cuda_backend";

// Opens the library and looks for a GPU `device`.
// Errors: kFailedPrecondition  the library, the driver or that GPU is missing,
//                              or the library cannot be opened; says which
absl::Status OpenCudaBackend(int device);

// REQUIRES: OpenCudaBackend(options.device) is OK.
std::unique_ptr<KernelSet> CreateCudaKernelSet(const CudaOptions& options);

}  // namespace stepd::kernels

#endif  // STEPD_MODEL_KERNELS_CUDA_BACKEND_H_
