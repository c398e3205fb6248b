// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/kernels/torch_kernel_set.h"

#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "ATen/Functions.h"
#include "ATen/TensorOperators.h"

namespace stepd::kernels {
namespace {

class TorchPackedLinear : public PackedLinear {
 public:
  TorchPackedLinear(at::Tensor weight, at::Tensor bias)
      : PackedLinear(weight.size(1), weight.size(0)),
        weight_(std::move(weight)),
        bias_(std::move(bias)) {}

  const at::Tensor& weight() const { return weight_; }
  const at::Tensor& bias() const { return bias_; }

 private:
  at::Tensor weight_;  // [out, in]
  at::Tensor bias_;    // [out], or undefined
};

class TorchKernelSet : public KernelSet {
 public:
  TorchKernelSet(at::Device device, WeightPrecision precision)
      : KernelSet(precision), device_(device) {}

  at::Device device() const override { return device_; }
  std::string description() const override {
    return "reference, LibTorch's operators (gathers a session's blocks)";
  }

  std::unique_ptr<PackedLinear> PackAs(
      absl::Span<const LinearWeights> parts,
      WeightPrecision precision) const override {
    std::vector<at::Tensor> weights;
    std::vector<at::Tensor> biases;
    for (const LinearWeights& part : parts) {
      weights.push_back(part.weight);
      if (part.bias.defined()) biases.push_back(part.bias);
    }
    const at::ScalarType type =
        precision == WeightPrecision::kFloat32 ? at::kFloat : at::kBFloat16;
    at::Tensor bias;
    if (!biases.empty()) bias = at::cat(biases).to(device_, at::kFloat);
    return std::make_unique<TorchPackedLinear>(
        at::cat(weights).to(device_, type), std::move(bias));
  }

  void Linear(const LinearParams& params) const override {
    const auto& packed = static_cast<const TorchPackedLinear&>(*params.weights);
    at::Tensor product = at::linear(Strided(params.x, params.rows,
                                            packed.in_dim(), params.x_stride)
                                        .to(packed.weight().scalar_type()),
                                    packed.weight())
                             .to(at::kFloat);
    if (packed.bias().defined()) product.add_(packed.bias());
    at::Tensor to =
        Strided(params.y, params.rows, packed.out_dim(), params.y_stride);
    if (params.output == LinearOutput::kAdd) {
      to.add_(product);
    } else {
      to.copy_(product);
    }
  }

  void RmsNorm(const NormParams& params) const override {
    View(params.y, {params.rows, params.dim})
        .copy_(Normalized(View(params.x, {params.rows, params.dim}),
                          params.weight, params.eps));
  }

  void LayerNorm(const NormParams& params) const override {
    const at::Tensor bias =
        params.bias == nullptr ? at::Tensor() : View(params.bias, {params.dim});
    View(params.y, {params.rows, params.dim})
        .copy_(at::layer_norm(View(params.x, {params.rows, params.dim}),
                              {params.dim}, View(params.weight, {params.dim}),
                              bias, params.eps));
  }

  void NormHeads(const HeadRows& heads, const float* weight,
                 float eps) const override {
    at::Tensor x = Heads(heads);
    x.copy_(Normalized(x, weight, eps));
  }

  void ActivateGated(Activation activation, const float* gate_up,
                     std::int64_t rows, std::int64_t dim,
                     float* y) const override {
    const at::Tensor both = View(gate_up, {rows, 2, dim});
    View(y, {rows, dim})
        .copy_(Activated(activation, both.select(1, 0)) * both.select(1, 1));
  }

  void Activate(Activation activation, float* x,
                std::int64_t count) const override {
    at::Tensor values = View(x, {count});
    values.copy_(Activated(activation, values));
  }

  void Rope(const HeadRows& heads, const RopeRows& rope) const override {
    const std::int64_t half = heads.dim / 2;
    at::Tensor x = Heads(heads).narrow(-1, 0, 2 * half);
    const at::Tensor cos = View(rope.cos, {heads.num_tokens, 1, half});
    const at::Tensor sin = View(rope.sin, {heads.num_tokens, 1, half});
    const bool is_split = rope.pairing == RopePairing::kHalfSplit;
    const at::Tensor pairs = is_split
                                 ? x.unflatten(-1, {2, half}).transpose(-1, -2)
                                 : x.unflatten(-1, {half, 2});
    const at::Tensor a = pairs.select(-1, 0);
    const at::Tensor b = pairs.select(-1, 1);
    const at::Tensor turned =
        at::stack({a * cos - b * sin, b * cos + a * sin}, -1);
    x.copy_((is_split ? turned.transpose(-1, -2) : turned).flatten(-2));
  }

  // Block layout: keys and values [P][G][E].
  void AppendKv(const AppendKvParams& params) const override {
    const AttentionShape& s = params.shape;
    const std::int64_t n = params.layout->num_tokens();
    const at::Tensor places =
        Indices(params.layout->token_blocks) * s.tokens_per_block +
        Indices(params.layout->token_offsets);
    const std::int64_t count = places.max().item<std::int64_t>() + 1;
    const auto append = [&](void* slot, const float* rows, std::int64_t width,
                            std::int64_t stride) {
      View(static_cast<const float*>(slot), {count, width})
          .index_copy_(0, places, Strided(rows, n, width, stride));
    };
    append(params.slot.k, params.k, std::int64_t{s.num_kv_heads} * s.k_dim,
           params.k_stride);
    if (params.slot.v == nullptr) return;
    append(params.slot.v, params.v, std::int64_t{s.num_kv_heads} * s.v_dim,
           params.v_stride);
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
    for (std::size_t i = 0; i < rows.size(); ++i) {
      View(y + static_cast<std::int64_t>(i) * dim, {dim})
          .copy_(View(x + rows[i] * dim, {dim}));
    }
  }

  void CopyColumns(const CopyColumnsParams& p) const override {
    Strided(p.y, p.rows, p.columns, p.y_stride)
        .copy_(Strided(p.x, p.rows, p.columns, p.x_stride));
  }

  void AddScaledRows(const float* x, std::int64_t dim,
                     absl::Span<const std::int32_t> rows,
                     absl::Span<const float> scales, float* y) const override {
    for (std::size_t i = 0; i < rows.size(); ++i) {
      View(y + rows[i] * dim, {dim})
          .add_(View(x + static_cast<std::int64_t>(i) * dim, {dim}), scales[i]);
    }
  }

  void AddGated(const float* x, std::int64_t rows, std::int64_t dim,
                const float* gate, float* y) const override {
    View(y, {rows, dim}).add_(View(gate, {dim}) * View(x, {rows, dim}));
  }

  void LoopInput(const LoopRows& loop, const float* embedding,
                 std::int64_t columns, float* c) const override {
    at::Tensor to = View(c, {loop.rows, loop.dim});
    to.copy_(View(loop.hidden, {loop.rows, loop.dim}));
    to.narrow(1, 0, columns).add_(View(embedding, {columns}));
    to.add_(View(loop.entry, {loop.rows, loop.dim}));
  }

  void LoopUpdate(const LoopRows& loop, const float* decay,
                  const float* injection, const float* y) const override {
    const std::vector<std::int64_t> shape = {loop.rows, loop.dim};
    at::Tensor hidden = View(loop.hidden, shape);
    hidden.copy_(View(decay, {loop.dim}) * hidden +
                 View(injection, {loop.dim}) * View(loop.entry, shape) +
                 View(y, shape));
  }

  void LoopHalt(const LoopRows& loop, const float* logits, float threshold,
                float* spent, float* out) const override {
    at::Tensor sum = View(spent, {loop.rows});
    const at::Tensor p = View(logits, {loop.rows}).sigmoid();
    const at::Tensor is_halted = sum >= threshold;
    const at::Tensor weight =
        at::where(sum + p >= threshold, (1.0 - sum).clamp_min(0.0), p)
            .masked_fill(is_halted, 0.0);
    View(out, {loop.rows, loop.dim})
        .add_(weight.unsqueeze(1) * View(loop.hidden, {loop.rows, loop.dim}));
    sum.add_(p.masked_fill(is_halted, 0.0));
  }

  void Zero(float* x, std::int64_t count) const override {
    View(x, {count}).zero_();
  }

  void AddTableRows(const float* table, std::int64_t width,
                    absl::Span<const std::int64_t> indices,
                    const ScatterTarget& target) const override {
    for (std::size_t i = 0; i < indices.size(); ++i) {
      View(target.out + target.out_offsets[i], {width})
          .add_(View(table + indices[i] * width, {width}));
    }
  }

  void AddFourier(const FourierTables& t, const float* x,
                  const ScatterTarget& target) const override {
    const auto n = static_cast<std::int64_t>(target.out_offsets.size());
    const at::Tensor inputs =
        at::from_blob(const_cast<float*>(x), {n, t.num_inputs, 1}, at::kFloat)
            .to(device_);
    const std::vector<std::int64_t> shape = {1, t.num_inputs, t.width};
    const at::Tensor waves =
        View(t.weight, shape) *
        at::cos(inputs * View(t.freqs, shape) + View(t.phases, shape));
    const at::Tensor sums = waves.sum(1);
    for (std::int64_t i = 0; i < n; ++i) {
      View(target.out + target.out_offsets[static_cast<std::size_t>(i)],
           {t.width})
          .add_(sums[i]);
    }
  }

  void CopyToHost(const float* x, std::int64_t count,
                  float* host) const override {
    at::from_blob(host, {count}, at::kFloat).copy_(View(x, {count}));
  }
  void CopyFromHost(const float* host, std::int64_t count,
                    float* x) const override {
    View(x, {count})
        .copy_(at::from_blob(const_cast<float*>(host), {count}, at::kFloat));
  }

 private:
  // LibTorch has no views of const memory; nothing writes through those of
  // const pointers.
  at::Tensor View(const float* data, at::IntArrayRef shape) const {
    return at::from_blob(const_cast<float*>(data), shape,
                         at::TensorOptions(at::kFloat).device(device_));
  }

  // Rows `stride` apart; 0: dense.
  at::Tensor Strided(const float* data, std::int64_t rows, std::int64_t dim,
                     std::int64_t stride) const {
    return at::from_blob(const_cast<float*>(data), {rows, dim},
                         {stride != 0 ? stride : dim, 1},
                         at::TensorOptions(at::kFloat).device(device_));
  }

  // [tokens, heads, dim].
  at::Tensor Heads(const HeadRows& heads) const {
    return at::from_blob(heads.x,
                         {heads.num_tokens, heads.num_heads, heads.dim},
                         {heads.token_stride, heads.dim, 1},
                         at::TensorOptions(at::kFloat).device(device_));
  }

  static at::Tensor Activated(Activation activation, const at::Tensor& x) {
    switch (activation) {
      case Activation::kSilu:
        return at::silu(x);
      case Activation::kGelu:
        return at::gelu(x);
      case Activation::kRelu:
        return at::relu(x);
      case Activation::kLeakyRelu:
        return at::leaky_relu(x);
      case Activation::kElu:
        return at::elu(x);
      case Activation::kSoftplus:
        return at::softplus(x);
      case Activation::kSigmoid:
        return at::sigmoid(x);
      case Activation::kTanh:
        break;
    }
    return at::tanh(x);
  }

  at::Tensor Indices(const std::vector<std::int32_t>& host) const {
    return at::from_blob(const_cast<std::int32_t*>(host.data()),
                         {static_cast<std::int64_t>(host.size())}, at::kInt)
        .to(device_, at::kLong);
  }

  at::Tensor Normalized(const at::Tensor& x, const float* weight,
                        float eps) const {
    const at::Tensor mean = (x * x).mean(-1, /*keepdim=*/true);
    return View(weight, {x.size(-1)}) * (x * at::rsqrt(mean + eps));
  }

  // Keys or values of one slice, gathered: [len, G, dim].
  at::Tensor Gathered(const void* data, const SourceKv& kv,
                      const AttentionShape& s, std::int64_t dim) const {
    const std::vector<std::int32_t> blocks(kv.blocks.begin(), kv.blocks.end());
    const at::Tensor ids = Indices(blocks);
    const std::int64_t count = ids.max().item<std::int64_t>() + 1;
    return View(static_cast<const float*>(data),
                {count, s.tokens_per_block, s.num_kv_heads, dim})
        .index_select(0, ids)
        .flatten(0, 1)
        .narrow(0, 0, kv.num_rows);
  }

  // The tokens of slice `b` itself.
  static SourceKv OwnKv(const PagedAttentionParams& params, std::size_t b) {
    const BatchLayout& layout = *params.layout;
    const std::int32_t first = layout.block_indptr[b];
    const std::int32_t end = layout.block_indptr[b + 1];
    return {params.slot,
            absl::MakeConstSpan(layout.block_indices)
                .subspan(static_cast<std::size_t>(first),
                         static_cast<std::size_t>(end - first)),
            layout.kv_lens[b]};
  }

  // Causality and window; `scores` [H, num_new, len].
  static void HideLaterKeys(std::int64_t window_left, std::int64_t num_new,
                            at::Tensor* scores) {
    const std::int64_t len = scores->size(2);
    const at::Tensor key = at::arange(len, scores->options().dtype(at::kLong));
    const at::Tensor query =
        (key.narrow(0, len - num_new, num_new)).unsqueeze(1);
    at::Tensor is_hidden = key > query;
    if (window_left >= 0) {
      is_hidden = is_hidden.logical_or(key < query - window_left);
    }
    *scores =
        scores->masked_fill(is_hidden, -std::numeric_limits<float>::infinity());
  }

  void AttendSlice(const PagedAttentionParams& params, std::size_t b) const {
    const BatchLayout& layout = *params.layout;
    const AttentionShape& s = params.shape;
    const std::int64_t first = layout.query_indptr[b];
    const std::int64_t num_new = layout.query_indptr[b + 1] - first;
    const SourceKv kv =
        params.sources.empty() ? OwnKv(params, b) : params.sources[b];
    const std::int64_t group = s.num_heads / s.num_kv_heads;
    // [H, T, E] against [H, len, E].
    const at::Tensor q =
        at::from_blob(
            const_cast<float*>(params.query) + first * params.query_stride,
            {num_new, s.num_heads, s.k_dim}, {params.query_stride, s.k_dim, 1},
            at::TensorOptions(at::kFloat).device(device_))
            .transpose(0, 1);
    const at::Tensor keys = Gathered(kv.slot.k, kv, s, s.k_dim);
    const at::Tensor values = kv.slot.v == nullptr
                                  ? keys.narrow(2, 0, s.v_dim)
                                  : Gathered(kv.slot.v, kv, s, s.v_dim);
    const auto per_head = [group](const at::Tensor& rows) {
      return rows.transpose(0, 1).repeat_interleave(group, 0);
    };
    at::Tensor scores =
        at::matmul(q, per_head(keys).transpose(1, 2)) * params.softmax_scale;
    if (params.sources.empty()) {
      HideLaterKeys(params.window_left, num_new, &scores);
    }
    const at::Tensor mixed =
        at::matmul(at::softmax(scores, -1), per_head(values));
    const std::int64_t width = std::int64_t{s.num_heads} * s.v_dim;
    View(params.out + first * width, {num_new, s.num_heads, s.v_dim})
        .copy_(mixed.transpose(0, 1));
  }

  at::Device device_;
};

}  // namespace

std::unique_ptr<KernelSet> CreateTorchKernelSet(at::Device device,
                                                WeightPrecision precision) {
  return std::make_unique<TorchKernelSet>(device, precision);
}

}  // namespace stepd::kernels
