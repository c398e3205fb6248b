// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/loader.h"

#include <exception>
#include <utility>

#include "ATen/Parallel.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "model/checkpoint/checkpoint.h"
#include "model/device.h"
#include "model/kernels/cpu_kernel_set.h"
#include "model/kernels/cuda_backend.h"
#include "model/kernels/torch_kernel_set.h"
#include "model/policy_description.h"
#include "model/transformer_policy.h"

namespace stepd {
namespace {

absl::StatusOr<WeightPrecision> ParsePrecision(const std::string& dtype) {
  if (dtype == "float32") return WeightPrecision::kFloat32;
  if (dtype == "bfloat16") return WeightPrecision::kBFloat16;
  return absl::InvalidArgumentError(
      absl::StrCat("dtype \"", dtype, "\" is neither float32 nor bfloat16"));
}

absl::StatusOr<std::unique_ptr<const kernels::KernelSet>> ChooseKernels(
    const LoadOptions& options) {
  absl::StatusOr<at::Device> device = OpenDevice(options.device);
  if (!device.ok()) return device.status();
  absl::StatusOr<WeightPrecision> precision = ParsePrecision(options.dtype);
  if (!precision.ok()) return precision.status();
  // Executors are the parallelism: LibTorch's own threads would wait for each
  // other on cores that other executors use.
  at::set_num_threads(1);
  if (options.kernels == "reference") {
    if (options.is_deterministic) {
      return absl::InvalidArgumentError(
          "kernels \"reference\" cannot be deterministic; use native");
    }
    return kernels::CreateTorchKernelSet(*device, *precision);
  }
  if (options.kernels != "auto" && options.kernels != "native") {
    return absl::InvalidArgumentError(
        absl::StrCat("kernels \"", options.kernels,
                     "\" is none of auto, native, reference"));
  }
  if (!device->is_cpu()) {
    kernels::CudaOptions cuda;
    cuda.device = device->index();
    cuda.precision = *precision;
    cuda.is_deterministic = options.is_deterministic;
    return kernels::CreateCudaKernelSet(cuda);
  }
  return kernels::CreateCpuKernelSet(*precision, kernels::BestCpuKernels(),
                                     options.num_companions);
}

// LibTorch throws when memory is short, also while a checkpoint is read.
template <typename Load>
auto CatchAll(const Load& load) -> decltype(load()) {
  try {
    return load();
  } catch (const std::exception& error) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the checkpoint could not be loaded: ", error.what()));
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Policy>> LoadPolicy(const std::string& directory,
                                                   const LoadOptions& options) {
  return CatchAll([&]() -> absl::StatusOr<std::unique_ptr<Policy>> {
    auto checkpoint = checkpoint::Checkpoint::Open(directory, options.reading);
    if (!checkpoint.ok()) return checkpoint.status();
    return LoadPolicy(**checkpoint, options);
  });
}

absl::StatusOr<std::unique_ptr<Policy>> LoadPolicy(
    const checkpoint::Checkpoint& checkpoint, const LoadOptions& options) {
  return CatchAll([&]() -> absl::StatusOr<std::unique_ptr<Policy>> {
    auto kernels = ChooseKernels(options);
    if (!kernels.ok()) return kernels.status();
    const absl::StatusOr<PolicyDescription> description = checkpoint.Read();
    if (!description.ok()) return description.status();
    return CreateTransformerPolicy(*description, *std::move(kernels));
  });
}

}  // namespace stepd
