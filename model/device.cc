// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/device.h"

#include "ATen/Context.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "model/kernels/cuda_backend.h"

namespace stepd {
namespace {

absl::StatusOr<at::Device> OpenCuda(int index) {
  const absl::Status status = kernels::OpenCudaBackend(index);
  if (!status.ok()) return status;
  // Numbers must be those of float32, not of the tensor cores' TF32.
  at::globalContext().setAllowTF32CuBLAS(false);
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
