// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/device.h"

#include <dlfcn.h>

#include <exception>

#include "ATen/Context.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace stepd {
namespace {

constexpr char kCudaLibrary[] = "libtorch_cuda.so";

// LibTorch dispatches at run time: opening the library is enough to give this
// process CUDA tensors. It stays open for good.
absl::Status OpenCudaLibrary() {
  if (dlopen(kCudaLibrary, RTLD_NOW | RTLD_GLOBAL) != nullptr) {
    return absl::OkStatus();
  }
  const char* reason = dlerror();
  return absl::FailedPreconditionError(absl::StrCat(
      "device cuda: LibTorch's CUDA library cannot be opened (install "
      "NVIDIA's libraries with tools/setup --cuda): ",
      reason == nullptr ? "unknown reason" : reason));
}

absl::StatusOr<at::Device> OpenCuda(int index) {
  if (absl::Status status = OpenCudaLibrary(); !status.ok()) return status;
  try {
    if (!at::globalContext().hasCUDA()) {
      return absl::FailedPreconditionError(
          "device cuda: no NVIDIA driver with a GPU on this machine");
    }
    const auto count = at::detail::getCUDAHooks().deviceCount();
    if (index >= count) {
      return absl::FailedPreconditionError(absl::StrCat(
          "device cuda:", index, ": this machine has ", int{count}, " GPUs"));
    }
    // Numbers must be those of float32, not of the tensor cores' TF32.
    at::globalContext().setAllowTF32CuBLAS(false);
  } catch (const std::exception& error) {
    return absl::FailedPreconditionError(
        absl::StrCat("device cuda: ", error.what()));
  }
  return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(index));
}

}  // namespace

absl::StatusOr<at::Device> OpenDevice(const std::string& name) {
  if (name == "cpu") return at::Device(at::kCPU);
  if (name == "auto") {
    absl::StatusOr<at::Device> cuda = OpenCuda(0);
    return cuda.ok() ? cuda : at::Device(at::kCPU);
  }
  absl::string_view rest = name;
  int index = 0;
  const bool is_cuda =
      absl::ConsumePrefix(&rest, "cuda") &&
      (rest.empty() || (absl::ConsumePrefix(&rest, ":") &&
                        absl::SimpleAtoi(rest, &index) && index >= 0));
  if (!is_cuda) {
    return absl::InvalidArgumentError(absl::StrCat(
        "device \"", name, "\" is none of cpu, cuda, cuda:N, auto"));
  }
  return OpenCuda(index);
}

}  // namespace stepd
