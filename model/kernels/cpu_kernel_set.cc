// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/kernels/cpu_kernel_set.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/kernels/companions.h"
#include "model/kernels/cpu_packed_linear.h"
#include "model/kernels/weight_arena.h"

namespace stepd::kernels {
namespace {

std::int64_t RoundUp(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// This set's keys and values are float32.
float* Floats(void* slot) { return static_cast<float*>(slot); }

// Scores of the longest context so far; one per executor thread.
float* AttentionScratch(std::int64_t count) {
  thread_local std::vector<float> scratch;
  if (static_cast<std::int64_t>(scratch.size()) < count) {
    scratch.resize(static_cast<std::size_t>(count * 2));
  }
  return scratch.data();
}

CpuNormArgs CpuNorm(const NormParams& params) {
  return {params.x,    params.rows, params.dim, params.weight,
          params.bias, params.eps,  params.y};
}

// The rows of a linear in bfloat16; one buffer per executor thread.
float* RowScratch(std::int64_t count) {
  thread_local std::vector<float> scratch;
  if (static_cast<std::int64_t>(scratch.size()) < count) {
    scratch.resize(static_cast<std::size_t>(count * 2));
  }
  return scratch.data();
}

class CpuKernelSet : public KernelSet {
 public:
  CpuKernelSet(const CpuKernels& kernels, WeightPrecision precision,
               int num_companions)
      : KernelSet(precision),
        kernels_(kernels),
        companions_(num_companions, kernels.panel) {}

  at::Device device() const override { return at::kCPU; }
  std::string description() const override {
    return absl::StrCat("native, ", kernels_.name);
  }

  std::unique_ptr<PackedLinear> PackAs(
      absl::Span<const LinearWeights> parts,
      WeightPrecision precision) const override {
    return std::make_unique<CpuPackedLinear>(parts, precision, kernels_,
                                             &arena_);
  }

  void BeginForward(const BatchLayout& layout) const override {
    companions_.Begin(layout.num_tokens());
  }
  void EndForward() const override { companions_.End(); }

  void Linear(const LinearParams& params) const override {
    const auto& packed = static_cast<const CpuPackedLinear&>(*params.weights);
    CpuLinearArgs args = {};
    args.panels = packed.panels();
    args.bias = packed.bias();
    args.in_words = packed.in_words();
    args.out_dim = packed.out_dim();
    args.x = params.x;
    args.x_stride = params.x_stride != 0 ? params.x_stride : packed.in_dim();
    args.rows = params.rows;
    args.y = params.y;
    args.y_stride = params.y_stride != 0 ? params.y_stride : packed.out_dim();
    args.is_add = params.output == LinearOutput::kAdd;
    if (packed.precision() == WeightPrecision::kFloat32) {
      RunLinear(args, kernels_.linear);
      return;
    }
    float* words =
        RowScratch(RoundUp(args.rows, kLinearRowsReadable) * args.in_words);
    for (std::int64_t i = 0; i < args.rows; ++i) {
      kernels_.to_bfloat16(args.x + i * args.x_stride, packed.in_dim(),
                           words + i * args.in_words);
    }
    args.x = words;
    args.x_stride = args.in_words;
    RunLinear(args, kernels_.linear_bfloat16);
  }

  void RmsNorm(const NormParams& params) const override {
    kernels_.rms_norm(CpuNorm(params));
  }

  void LayerNorm(const NormParams& params) const override {
    kernels_.layer_norm(CpuNorm(params));
  }

  void NormHeads(const HeadRows& heads, const float* weight,
                 float eps) const override {
    for (std::int64_t i = 0; i < heads.num_tokens; ++i) {
      float* x = heads.x + i * heads.token_stride;
      kernels_.rms_norm(
          {x, heads.num_heads, heads.dim, weight, /*bias=*/nullptr, eps, x});
    }
  }

  void ActivateGated(Activation activation, const float* gate_up,
                     std::int64_t rows, std::int64_t dim,
                     float* y) const override {
    kernels_.activate_gated(activation, gate_up, rows, dim, y);
  }

  void Activate(Activation activation, float* x,
                std::int64_t count) const override {
    kernels_.activate(activation, x, count);
  }

  void Rope(const HeadRows& heads, const RopeRows& rope) const override {
    const std::int64_t half = heads.dim / 2;
    for (std::int64_t i = 0; i < heads.num_tokens; ++i) {
      float* head = heads.x + i * heads.token_stride;
      for (int h = 0; h < heads.num_heads; ++h, head += heads.dim) {
        kernels_.rope(head, half, rope.cos + i * half, rope.sin + i * half,
                      rope.pairing);
      }
    }
  }

  // Block layout: keys [G][E][P], so that one key dimension of a block's 16
  // tokens is one vector; values [G][P][V].
  void AppendKv(const AppendKvParams& params) const override {
    const AttentionShape& s = params.shape;
    assert(s.tokens_per_block == kCpuTokensPerBlock);
    for (std::int64_t i = 0; i < params.layout->num_tokens(); ++i) {
      const auto token = static_cast<std::size_t>(i);
      const std::int64_t block = params.layout->token_blocks[token];
      const std::int64_t offset = params.layout->token_offsets[token];
      float* keys =
          Floats(params.slot.k) + block * s.k_block_elements() + offset;
      const float* k = params.k + i * params.k_stride;
      for (std::int64_t d = 0; d < s.num_kv_heads * s.k_dim; ++d) {
        keys[d * kCpuTokensPerBlock] = k[d];
      }
      if (params.slot.v == nullptr) continue;
      const float* v = params.v + i * params.v_stride;
      float* values = Floats(params.slot.v) + block * s.v_block_elements();
      for (std::int64_t g = 0; g < s.num_kv_heads; ++g) {
        CopyFromHost(v + g * s.v_dim, s.v_dim,
                     values + (g * kCpuTokensPerBlock + offset) * s.v_dim);
      }
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

  void CopyColumns(const CopyColumnsParams& params) const override {
    const auto bytes = static_cast<std::size_t>(params.columns) * sizeof(float);
    for (std::int64_t i = 0; i < params.rows; ++i) {
      std::memcpy(params.y + i * params.y_stride,
                  params.x + i * params.x_stride, bytes);
    }
  }

  void AddScaledRows(const float* x, std::int64_t dim,
                     absl::Span<const std::int32_t> rows,
                     absl::Span<const float> scales, float* y) const override {
    for (std::size_t i = 0; i < rows.size(); ++i, x += dim) {
      kernels_.add_scaled(x, dim, scales[i], y + rows[i] * dim);
    }
  }

  void AddGated(const float* x, std::int64_t rows, std::int64_t dim,
                const float* gate, float* y) const override {
    for (std::int64_t i = 0; i < rows * dim; ++i) y[i] += gate[i % dim] * x[i];
  }

  void LoopInput(const LoopRows& loop, const float* embedding,
                 std::int64_t columns, float* c) const override {
    for (std::int64_t row = 0; row < loop.rows; ++row, c += loop.dim) {
      CopyFromHost(loop.hidden + row * loop.dim, loop.dim, c);
      kernels_.add_scaled(embedding, columns, 1.0F, c);
      kernels_.add_scaled(loop.entry + row * loop.dim, loop.dim, 1.0F, c);
    }
  }

  void LoopUpdate(const LoopRows& loop, const float* decay,
                  const float* injection, const float* y) const override {
    for (std::int64_t i = 0; i < loop.rows * loop.dim; ++i) {
      const std::int64_t d = i % loop.dim;
      loop.hidden[i] =
          decay[d] * loop.hidden[i] + injection[d] * loop.entry[i] + y[i];
    }
  }

  void LoopHalt(const LoopRows& loop, const float* logits, float threshold,
                float* spent, float* out) const override {
    for (std::int64_t row = 0; row < loop.rows; ++row) {
      if (spent[row] >= threshold) continue;
      const float p = 1.0F / (1.0F + std::exp(-logits[row]));
      const float weight =
          spent[row] + p >= threshold ? std::max(1.0F - spent[row], 0.0F) : p;
      kernels_.add_scaled(loop.hidden + row * loop.dim, loop.dim, weight,
                          out + row * loop.dim);
      spent[row] += p;
    }
  }

  void Zero(float* x, std::int64_t count) const override {
    std::fill_n(x, count, 0.0F);
  }

  void AddTableRows(const float* table, std::int64_t width,
                    absl::Span<const std::int64_t> indices,
                    const ScatterTarget& target) const override {
    for (std::size_t i = 0; i < indices.size(); ++i) {
      kernels_.add_scaled(table + indices[i] * width, width, 1.0F,
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
  void RunLinear(const CpuLinearArgs& args, Companions::Kernel kernel) const {
    if (!companions_.Run(args, kernel)) kernel(args);
  }

  // Where the slice after slice `b` begins to read; or this one, if it is last.
  static const float* FirstKeysAfter(const PagedAttentionParams& params,
                                     std::size_t b) {
    const BatchLayout& layout = *params.layout;
    const std::size_t next = b + 2 < layout.query_indptr.size() ? b + 1 : b;
    if (!params.sources.empty()) {
      const SourceKv& source = params.sources[next];
      return Floats(source.slot.k) +
             source.blocks.front() * params.shape.k_block_elements();
    }
    const std::int32_t block =
        layout
            .block_indices[static_cast<std::size_t>(layout.block_indptr[next])];
    return Floats(params.slot.k) + block * params.shape.k_block_elements();
  }

  void AttendSlice(const PagedAttentionParams& params, std::size_t b) const {
    const BatchLayout& layout = *params.layout;
    const AttentionShape& s = params.shape;
    const std::int64_t group = s.num_heads / s.num_kv_heads;
    const std::int32_t first = layout.query_indptr[b];
    CpuAttentionArgs args = {};
    args.query_stride = params.query_stride;
    args.out_stride = std::int64_t{s.num_heads} * s.v_dim;
    args.k_block_elements = s.k_block_elements();
    args.v_block_elements = s.v_block_elements();
    args.blocks = layout.block_indices.data() + layout.block_indptr[b];
    args.num_new = layout.query_indptr[b + 1] - first;
    args.kv_len = layout.kv_lens[b];
    KvSlot slot = params.slot;
    if (!params.sources.empty()) {
      slot = params.sources[b].slot;
      args.blocks = params.sources[b].blocks.data();
      args.kv_len = params.sources[b].num_rows;
    }
    args.group = static_cast<int>(group);
    args.k_dim = s.k_dim;
    args.v_dim = s.v_dim;
    args.scale = params.softmax_scale;
    args.window_left = params.window_left;
    args.scratch =
        AttentionScratch(group * RoundUp(args.kv_len, kCpuTokensPerBlock));
    for (std::int64_t g = 0; g < s.num_kv_heads; ++g) {
      args.query =
          params.query + first * params.query_stride + g * group * s.k_dim;
      args.out = params.out + first * args.out_stride + g * group * s.v_dim;
      args.k = Floats(slot.k) + g * s.k_dim * kCpuTokensPerBlock;
      args.v = slot.v == nullptr
                   ? nullptr
                   : Floats(slot.v) + g * s.v_dim * kCpuTokensPerBlock;
      args.next = g + 1 < s.num_kv_heads ? args.k + s.k_dim * kCpuTokensPerBlock
                                         : FirstKeysAfter(params, b);
      if (params.sources.empty()) {
        kernels_.attention(args);
      } else {
        AttendEach(args);
      }
    }
  }

  // Every token sees all keys, as the last one of a causal call does.
  void AttendEach(CpuAttentionArgs args) const {
    const std::int64_t num_tokens = args.num_new;
    args.num_new = 1;
    for (std::int64_t i = 0; i < num_tokens; ++i) {
      kernels_.attention(args);
      args.query += args.query_stride;
      args.out += args.out_stride;
    }
  }

  const CpuKernels& kernels_;
  mutable WeightArena arena_;      // thread-safe
  mutable Companions companions_;  // thread-safe
};

}  // namespace

std::unique_ptr<KernelSet> CreateCpuKernelSet(WeightPrecision precision,
                                              const CpuKernels& kernels,
                                              int num_companions) {
  return std::make_unique<CpuKernelSet>(kernels, precision, num_companions);
}

}  // namespace stepd::kernels
