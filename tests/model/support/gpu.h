// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// For tests of the GPU's kernels: they are built everywhere, and skipped with
// the reason where no GPU works.

#ifndef STEPD_TESTS_MODEL_SUPPORT_GPU_H_
#define STEPD_TESTS_MODEL_SUPPORT_GPU_H_

#include <memory>
#include <string>

#include "gtest/gtest.h"
#include "model/kernels/cuda_backend.h"

namespace stepd {

// Why there is no GPU to test on; empty: there is one.
inline std::string WhyNoGpu() {
  return std::string(kernels::OpenCudaBackend(0).message());
}

// A set with a queue that the calling thread uses.
struct GpuKernels {
  std::unique_ptr<kernels::KernelSet> set;
  std::unique_ptr<kernels::DeviceQueue> queue;
};

inline GpuKernels OpenGpu(WeightPrecision precision,
                          bool is_deterministic = false) {
  kernels::CudaOptions options;
  options.precision = precision;
  options.is_deterministic = is_deterministic;
  GpuKernels gpu;
  gpu.set = kernels::CreateCudaKernelSet(options);
  gpu.queue = gpu.set->CreateQueue();
  gpu.queue->Use();
  return gpu;
}

}  // namespace stepd

// In a test or in SetUp(): ends it where there is no GPU.
#define STEPD_REQUIRE_GPU()                                    \
  do {                                                         \
    const std::string reason = ::stepd::WhyNoGpu();            \
    if (!reason.empty()) GTEST_SKIP() << "no GPU: " << reason; \
  } while (false)

#endif  // STEPD_TESTS_MODEL_SUPPORT_GPU_H_
