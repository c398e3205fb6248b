// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// stepd's own CPU kernels behind the KernelSet interface. Bit-exact whatever
// else is in the batch; allocates nothing at step time once warm.
//
// Thread safety: thread-safe.

#ifndef STEPD_MODEL_KERNELS_CPU_KERNEL_SET_H_
#define STEPD_MODEL_KERNELS_CPU_KERNEL_SET_H_

#include <memory>

#include "model/kernels/cpu_kernels.h"
#include "model/kernels/kernel_set.h"

namespace stepd::kernels {

// `kernels` must outlive the set (the tables of cpu_kernels.h do).
// `num_companions`: threads that share the linears of a lone small batch
// (companions.h).
std::unique_ptr<KernelSet> CreateCpuKernelSet(
    WeightPrecision precision = WeightPrecision::kFloat32,
    const CpuKernels& kernels = BestCpuKernels(), int num_companions = 0);

}  // namespace stepd::kernels

#endif  // STEPD_MODEL_KERNELS_CPU_KERNEL_SET_H_
