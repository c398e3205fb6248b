// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/kernels/cpu_packed_linear.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <vector>

namespace stepd::kernels {
namespace {

constexpr std::int64_t kWordBytes = sizeof(float);

std::int64_t OutDim(absl::Span<const LinearWeights> parts) {
  std::int64_t sum = 0;
  for (const LinearWeights& part : parts) sum += part.out_dim();
  return sum;
}

float* AllocateWords(std::int64_t count, WeightArena* arena) {
  return reinterpret_cast<float*>(
      arena->Allocate(static_cast<std::size_t>(count * kWordBytes)));
}

}  // namespace

CpuPackedLinear::CpuPackedLinear(absl::Span<const LinearWeights> parts,
                                 WeightPrecision precision,
                                 const CpuKernels& kernels, WeightArena* arena)
    : PackedLinear(parts.front().in_dim(), OutDim(parts)),
      precision_(precision) {
  const std::int64_t panel = kernels.panel;
  const std::int64_t padded = (out_dim() + panel - 1) / panel * panel;
  const std::int64_t words = in_words();
  panels_ = AllocateWords(padded * words, arena);
  if (parts.front().bias.defined()) bias_ = AllocateWords(padded, arena);
  std::vector<float> converted(static_cast<std::size_t>(words));
  std::int64_t column = 0;
  for (const LinearWeights& part : parts) {
    const at::Tensor weight = part.weight.to(at::kFloat).contiguous();
    const float* from = weight.const_data_ptr<float>();
    if (part.bias.defined()) {
      const at::Tensor bias = part.bias.to(at::kFloat).contiguous();
      std::copy_n(bias.const_data_ptr<float>(), part.out_dim(), bias_ + column);
    }
    for (std::int64_t i = 0; i < part.out_dim(); ++i, ++column) {
      const float* row = from + i * in_dim();
      if (precision_ == WeightPrecision::kBFloat16) {
        kernels.to_bfloat16(row, in_dim(), converted.data());
        row = converted.data();
      }
      float* to = panels_ + column / panel * words * panel + column % panel;
      for (std::int64_t k = 0; k < words; ++k) {
        std::memcpy(to + k * panel, row + k, sizeof(float));
      }
    }
  }
}

std::int64_t CpuPackedLinear::in_words() const {
  return precision_ == WeightPrecision::kFloat32 ? in_dim()
                                                 : (in_dim() + 1) / 2;
}

}  // namespace stepd::kernels
