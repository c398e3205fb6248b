// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/kernels/kernel_set.h"

#include <algorithm>
#include <cstddef>
#include <numeric>

namespace stepd::kernels {

void BankOrder::Assign(absl::Span<const std::int32_t> banks, int num_banks) {
  indptr.assign(static_cast<std::size_t>(num_banks) + 1, 0);
  for (std::int32_t bank : banks) ++indptr[static_cast<std::size_t>(bank) + 1];
  std::partial_sum(indptr.begin(), indptr.end(), indptr.begin());
  is_sorted = std::is_sorted(banks.begin(), banks.end());
  rows.resize(banks.size());
  places.resize(banks.size());
  for (std::size_t row = 0; row < banks.size(); ++row) {
    const std::int32_t place = indptr[static_cast<std::size_t>(banks[row])]++;
    places[row] = place;
    rows[static_cast<std::size_t>(place)] = static_cast<std::int32_t>(row);
  }
  // Each bank's begin has become its end, which is the next one's begin.
  std::move_backward(indptr.begin(), indptr.end() - 1, indptr.end());
  indptr.front() = 0;
}

void BankOrder::Clear() {
  indptr.clear();
  rows.clear();
  places.clear();
  is_sorted = true;
}

void BatchLayout::Clear() {
  query_indptr.clear();
  block_indptr.clear();
  block_indices.clear();
  kv_lens.clear();
  positions.clear();
  token_blocks.clear();
  token_offsets.clear();
  answered_rows.clear();
  context_capacity = 0;
  banks.Clear();
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
