// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/kernels/cpu_kernel_set.h"

#include <cassert>
#include <cstddef>
#include <cstring>
#include <utility>
#include <vector>

#include "ATen/Functions.h"

namespace stepd::kernels {
namespace {

std::int64_t RoundUp(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// Panels of `panel` columns, k-major: a tile of rows streams through one panel
// with unit stride. Short panels are padded with zeros.
class CpuPackedLinear : public PackedLinear {
 public:
  CpuPackedLinear(absl::Span<const LinearWeights> parts, int panel)
      : PackedLinear(parts.front().weight.size(1), OutDim(parts)) {
    const std::int64_t padded = RoundUp(out_dim(), panel);
    panels_ = at::zeros({padded / panel, in_dim(), panel}, at::kFloat);
    if (parts.front().bias.defined()) bias_ = at::zeros({padded}, at::kFloat);
    float* to = panels_.data_ptr<float>();
    std::int64_t row = 0;
    for (const LinearWeights& part : parts) {
      const at::Tensor weight = part.weight.to(at::kFloat).contiguous();
      const float* from = weight.data_ptr<float>();
      for (std::int64_t i = 0; i < weight.size(0); ++i, ++row) {
        float* column = to + row / panel * in_dim() * panel + row % panel;
        for (std::int64_t k = 0; k < in_dim(); ++k) {
          column[k * panel] = *from++;
        }
      }
      if (part.bias.defined()) {
        const std::int64_t end = row;
        bias_.narrow(0, end - weight.size(0), weight.size(0)).copy_(part.bias);
      }
    }
  }

  const float* panels() const { return panels_.const_data_ptr<float>(); }
  const float* bias() const {
    return bias_.defined() ? bias_.const_data_ptr<float>() : nullptr;
  }

 private:
  static std::int64_t OutDim(absl::Span<const LinearWeights> parts) {
    std::int64_t sum = 0;
    for (const LinearWeights& part : parts) sum += part.weight.size(0);
    return sum;
  }

  at::Tensor panels_;  // [out / panel, in, panel]
  at::Tensor bias_;    // [out, padded], or undefined
};

// Scores of the longest context so far; one per executor thread.
float* AttentionScratch(std::int64_t count) {
  thread_local std::vector<float> scratch;
  if (static_cast<std::int64_t>(scratch.size()) < count) {
    scratch.resize(static_cast<std::size_t>(count * 2));
  }
  return scratch.data();
}

class CpuKernelSet : public KernelSet {
 public:
  explicit CpuKernelSet(const CpuKernels& kernels) : kernels_(kernels) {}

  at::Device device() const override { return at::kCPU; }

  std::unique_ptr<PackedLinear> Pack(
      absl::Span<const LinearWeights> parts) const override {
    return std::make_unique<CpuPackedLinear>(parts, kernels_.panel);
  }

  void Linear(const PackedLinear& weights, const float* x, std::int64_t rows,
              float* y, LinearOutput output) const override {
    const auto& packed = static_cast<const CpuPackedLinear&>(weights);
    kernels_.linear({packed.panels(), packed.bias(), packed.in_dim(),
                     packed.out_dim(), x, rows, y,
                     output == LinearOutput::kAdd});
  }

  void RmsNorm(const float* x, std::int64_t rows, std::int64_t dim,
               const float* weight, float eps, float* y) const override {
    kernels_.rms_norm(x, rows, dim, weight, eps, y);
  }

  void SiluGate(const float* gate_up, std::int64_t rows, std::int64_t dim,
                float* y) const override {
    kernels_.silu_gate(gate_up, rows, dim, y);
  }

  void RopeAppend(const RopeAppendParams& params) const override {
    for (std::int64_t i = 0; i < params.layout->num_tokens(); ++i) {
      RopeAppendToken(params, i);
    }
  }

  void PagedAttention(const PagedAttentionParams& params) const override {
    const BatchLayout& layout = *params.layout;
    for (std::size_t b = 0; b + 1 < layout.query_indptr.size(); ++b) {
      AttendSlice(params, b);
    }
  }

  void GatherRows(const float* x, std::int64_t dim,
                  absl::Span<const std::int32_t> rows,
                  float* y) const override {
    for (std::int32_t row : rows) {
      CopyFromHost(x + row * dim, dim, y);
      y += dim;
    }
  }

  void AddTableRows(const float* table, std::int64_t width,
                    absl::Span<const std::int64_t> indices,
                    const ScatterTarget& target) const override {
    for (std::size_t i = 0; i < indices.size(); ++i) {
      kernels_.add(table + indices[i] * width, width,
                   target.out + target.out_offsets[i]);
    }
  }

  void AddFourier(const FourierTables& tables, const float* x,
                  const ScatterTarget& target) const override {
    for (std::int64_t offset : target.out_offsets) {
      kernels_.add_fourier({tables.weight, tables.freqs, tables.phases, x,
                            tables.num_inputs, tables.width,
                            target.out + offset});
      x += tables.num_inputs;
    }
  }

  void CopyToHost(const float* x, std::int64_t count,
                  float* host) const override {
    std::memcpy(host, x, static_cast<std::size_t>(count) * sizeof(float));
  }
  void CopyFromHost(const float* host, std::int64_t count,
                    float* x) const override {
    std::memcpy(x, host, static_cast<std::size_t>(count) * sizeof(float));
  }

 private:
  // Block layout: keys [G][E][P], so that one key dimension of a block's 16
  // tokens is one vector; values [G][P][E].
  void RopeAppendToken(const RopeAppendParams& params, std::int64_t i) const {
    const AttentionShape& s = params.shape;
    assert(s.tokens_per_block == kCpuTokensPerBlock);
    const std::int64_t e = s.head_dim;
    const float* cos = params.cos + i * e / 2;
    const float* sin = params.sin + i * e / 2;
    float* q = params.qkv + i * s.qkv_dim();
    float* k = q + s.num_heads * e;
    const float* v = k + s.num_kv_heads * e;
    if (params.q_norm != nullptr) {
      RmsNorm(q, s.num_heads, e, params.q_norm, params.q_norm_eps, q);
    }
    if (params.k_norm != nullptr) {
      RmsNorm(k, s.num_kv_heads, e, params.k_norm, params.k_norm_eps, k);
    }
    const auto token = static_cast<std::size_t>(i);
    const std::int64_t block =
        params.layout->token_blocks[token] * s.block_elements();
    const std::int64_t offset = params.layout->token_offsets[token];
    for (int h = 0; h < s.num_heads; ++h) {
      kernels_.rope(q + h * e, e / 2, cos, sin);
    }
    for (int g = 0; g < s.num_kv_heads; ++g) {
      const std::int64_t head = block + g * e * kCpuTokensPerBlock;
      kernels_.rope(k + g * e, e / 2, cos, sin);
      float* keys = params.slot.k + head + offset;
      for (std::int64_t d = 0; d < e; ++d) {
        keys[d * kCpuTokensPerBlock] = k[g * e + d];
      }
      CopyFromHost(v + g * e, e, params.slot.v + head + offset * e);
    }
  }

  void AttendSlice(const PagedAttentionParams& params, std::size_t b) const {
    const BatchLayout& layout = *params.layout;
    const AttentionShape& s = params.shape;
    const std::int64_t e = s.head_dim;
    const int group = s.num_heads / s.num_kv_heads;
    const std::int32_t first = layout.query_indptr[b];
    CpuAttentionArgs args = {};
    args.query_stride = params.query_stride;
    args.out_stride = s.num_heads * e;
    args.block_elements = s.block_elements();
    args.blocks = layout.block_indices.data() + layout.block_indptr[b];
    args.num_new = layout.query_indptr[b + 1] - first;
    args.kv_len = layout.kv_lens[b];
    args.group = group;
    args.head_dim = s.head_dim;
    args.scale = params.softmax_scale;
    args.window_left = params.window_left;
    args.scratch =
        AttentionScratch(group * RoundUp(args.kv_len, kCpuTokensPerBlock));
    for (int g = 0; g < s.num_kv_heads; ++g) {
      args.query = params.query + first * params.query_stride + g * group * e;
      args.out = params.out + first * args.out_stride + g * group * e;
      args.k = params.slot.k + g * e * kCpuTokensPerBlock;
      args.v = params.slot.v + g * e * kCpuTokensPerBlock;
      kernels_.attention(args);
    }
  }

  const CpuKernels& kernels_;
};

}  // namespace

std::unique_ptr<KernelSet> CreateCpuKernelSet(const CpuKernels& kernels) {
  return std::make_unique<CpuKernelSet>(kernels);
}

}  // namespace stepd::kernels
