// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/kernels/kernel_set.h"

namespace stepd::kernels {

void BatchLayout::Clear() {
  query_indptr.clear();
  block_indptr.clear();
  block_indices.clear();
  kv_lens.clear();
  positions.clear();
  token_blocks.clear();
  token_offsets.clear();
}

at::Tensor ToDevice(const KernelSet& kernels, const at::Tensor& tensor) {
  if (!tensor.defined()) return tensor;
  return tensor
      .to(kernels.device(), at::kFloat, /*non_blocking=*/false,
          /*copy=*/true)
      .contiguous();
}

}  // namespace stepd::kernels
