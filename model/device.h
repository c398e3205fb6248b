// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// From the configuration's word for a device to a LibTorch device that works.
//
// Thread safety: thread-safe.

#ifndef STEPD_MODEL_DEVICE_H_
#define STEPD_MODEL_DEVICE_H_

#include <string>

#include "absl/status/statusor.h"
#include "c10/core/Device.h"

namespace stepd {

// `name`: cpu | cuda | cuda:N | auto (a GPU if one works, else the CPU). For
// CUDA it opens the library of model/kernels/cuda_backend.h, and LibTorch's
// with it. Errors: kInvalidArgument    no such word
//         kFailedPrecondition CUDA is asked for but the library, the driver or
//                             that GPU is missing; says which
absl::StatusOr<at::Device> OpenDevice(const std::string& name);

}  // namespace stepd

#endif  // STEPD_MODEL_DEVICE_H_
