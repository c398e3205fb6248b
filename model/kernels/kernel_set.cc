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

std::unique_ptr<PackedLinear> KernelSet::Pack(
    absl::Span<const LinearWeights> parts) const {
  return PackCounted(parts, precision_);
}

std::unique_ptr<PackedLinear> KernelSet::PackFloat32(
    absl::Span<const LinearWeights> parts) const {
  return PackCounted(parts, WeightPrecision::kFloat32);
}

std::unique_ptr<PackedLinear> KernelSet::PackCounted(
    absl::Span<const LinearWeights> parts, WeightPrecision precision) const {
  const std::int64_t weight_bytes =
      precision == WeightPrecision::kFloat32 ? 4 : 2;
  for (const LinearWeights& part : parts) {
    resident_bytes_ += part.weight.numel() * weight_bytes;
    if (part.bias.defined()) resident_bytes_ += part.bias.numel() * 4;
  }
  return PackAs(parts, precision);
}

at::Tensor ToDevice(const KernelSet& kernels, const at::Tensor& tensor) {
  if (!tensor.defined()) return tensor;
  kernels.resident_bytes_ += tensor.numel() * 4;
  return tensor
      .to(kernels.device(), at::kFloat, /*non_blocking=*/false,
          /*copy=*/true)
      .contiguous();
}

}  // namespace stepd::kernels
