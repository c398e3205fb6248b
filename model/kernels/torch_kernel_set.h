// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// LibTorch's operators behind the KernelSet interface: the reference that
// stepd's own kernels are compared with, and the path on devices that have no
// kernels of ours. Gathers a session's blocks before attending to them. Not
// bit-exact across batches: LibTorch picks other algorithms for other sizes.
//
// Thread safety: thread-safe. Errors: LibTorch's exceptions pass through.

#ifndef STEPD_MODEL_KERNELS_TORCH_KERNEL_SET_H_
#define STEPD_MODEL_KERNELS_TORCH_KERNEL_SET_H_

#include <memory>

#include "model/kernels/kernel_set.h"

namespace stepd::kernels {

std::unique_ptr<KernelSet> CreateTorchKernelSet(
    at::Device device, WeightPrecision precision = WeightPrecision::kFloat32);

}  // namespace stepd::kernels

#endif  // STEPD_MODEL_KERNELS_TORCH_KERNEL_SET_H_
