// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The GPU's kernels, compiled for the CPU.

#include "model/kernels/cuda/attention.cu"
#include "tests/fakes/cuda/simt.h"

namespace stepd::kernels::cuda {

unsigned char* SharedMemory() { return simt::SharedMemory(); }

}  // namespace stepd::kernels::cuda
