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
  explicit TorchKernelSet(at::Device device) : device_(device) {}

  at::Device device() const override { return device_; }

  std::unique_ptr<PackedLinear> Pack(
      absl::Span<const LinearWeights> parts) const override {
    std::vector<at::Tensor> weights;
    std::vector<at::Tensor> biases;
    for (const LinearWeights& part : parts) {
      weights.push_back(part.weight);
      if (part.bias.defined()) biases.push_back(part.bias);
    }
    return std::make_unique<TorchPackedLinear>(
        ToDevice(*this, at::cat(weights)),
        biases.empty() ? at::Tensor() : ToDevice(*this, at::cat(biases)));
  }

  void Linear(const PackedLinear& weights, const float* x, std::int64_t rows,
              float* y, LinearOutput output) const override {
    const auto& packed = static_cast<const TorchPackedLinear&>(weights);
    const at::Tensor product = at::linear(View(x, {rows, packed.in_dim()}),
                                          packed.weight(), packed.bias());
    at::Tensor to = View(y, {rows, packed.out_dim()});
    if (output == LinearOutput::kAdd) {
      to.add_(product);
    } else {
      to.copy_(product);
    }
  }

  void RmsNorm(const float* x, std::int64_t rows, std::int64_t dim,
               const float* weight, float eps, float* y) const override {
    View(y, {rows, dim}).copy_(Normalized(View(x, {rows, dim}), weight, eps));
  }

  void SiluGate(const float* gate_up, std::int64_t rows, std::int64_t dim,
                float* y) const override {
    const at::Tensor both = View(gate_up, {rows, 2, dim});
    View(y, {rows, dim}).copy_(at::silu(both.select(1, 0)) * both.select(1, 1));
  }

  // Block layout: keys and values [P][G][E].
  void RopeAppend(const RopeAppendParams& params) const override {
    const AttentionShape& s = params.shape;
    const std::int64_t n = params.layout->num_tokens();
    at::Tensor qkv =
        View(params.qkv, {n, s.num_heads + 2 * s.num_kv_heads, s.head_dim});
    const at::Tensor cos = View(params.cos, {n, 1, s.head_dim / 2});
    const at::Tensor sin = View(params.sin, {n, 1, s.head_dim / 2});
    at::Tensor q = qkv.narrow(1, 0, s.num_heads);
    at::Tensor k = qkv.narrow(1, s.num_heads, s.num_kv_heads);
    const at::Tensor v =
        qkv.narrow(1, s.num_heads + s.num_kv_heads, s.num_kv_heads);
    if (params.q_norm != nullptr) {
      q.copy_(Normalized(q, params.q_norm, params.q_norm_eps));
    }
    if (params.k_norm != nullptr) {
      k.copy_(Normalized(k, params.k_norm, params.k_norm_eps));
    }
    q.copy_(Turned(q, cos, sin));
    const at::Tensor turned_k = Turned(k, cos, sin);
    const at::Tensor places =
        Indices(params.layout->token_blocks) * s.tokens_per_block +
        Indices(params.layout->token_offsets);
    Tokens(params.slot.k, places, s).index_copy_(0, places, turned_k);
    Tokens(params.slot.v, places, s).index_copy_(0, places, v);
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

  static at::Tensor Turned(const at::Tensor& x, const at::Tensor& cos,
                           const at::Tensor& sin) {
    const std::vector<at::Tensor> half = x.chunk(2, -1);
    return at::cat(
        {half[0] * cos - half[1] * sin, half[1] * cos + half[0] * sin}, -1);
  }

  // All tokens of a slot up to the last of `places`, as rows [.., G, E].
  at::Tensor Tokens(float* data, const at::Tensor& places,
                    const AttentionShape& s) const {
    const std::int64_t count = places.max().item<std::int64_t>() + 1;
    return View(data, {count, s.num_kv_heads, s.head_dim});
  }

  // Keys or values of one slice, gathered: [len, G, E].
  at::Tensor Gathered(float* data, const BatchLayout& layout, std::size_t b,
                      const AttentionShape& s) const {
    const std::vector<std::int32_t> blocks(
        layout.block_indices.begin() + layout.block_indptr[b],
        layout.block_indices.begin() + layout.block_indptr[b + 1]);
    const at::Tensor ids = Indices(blocks);
    const std::int64_t count = ids.max().item<std::int64_t>() + 1;
    return View(data, {count, s.tokens_per_block, s.num_kv_heads, s.head_dim})
        .index_select(0, ids)
        .flatten(0, 1)
        .narrow(0, 0, layout.kv_lens[b]);
  }

  void AttendSlice(const PagedAttentionParams& params, std::size_t b) const {
    const BatchLayout& layout = *params.layout;
    const AttentionShape& s = params.shape;
    const std::int64_t first = layout.query_indptr[b];
    const std::int64_t num_new = layout.query_indptr[b + 1] - first;
    const std::int64_t len = layout.kv_lens[b];
    const std::int64_t group = s.num_heads / s.num_kv_heads;
    const std::int64_t e = s.head_dim;
    // [H, T, E] against [H, len, E].
    const at::Tensor q =
        at::from_blob(
            const_cast<float*>(params.query) + first * params.query_stride,
            {num_new, s.num_heads, e}, {params.query_stride, e, 1},
            at::TensorOptions(at::kFloat).device(device_))
            .transpose(0, 1);
    const auto per_head = [&](float* data) {
      return Gathered(data, layout, b, s)
          .transpose(0, 1)
          .repeat_interleave(group, 0);
    };
    at::Tensor scores = at::matmul(q, per_head(params.slot.k).transpose(1, 2)) *
                        params.softmax_scale;
    const at::Tensor key = at::arange(len, scores.options().dtype(at::kLong));
    const at::Tensor query =
        (key.narrow(0, len - num_new, num_new)).unsqueeze(1);
    at::Tensor is_hidden = key > query;
    if (params.window_left >= 0) {
      is_hidden = is_hidden.logical_or(key < query - params.window_left);
    }
    scores =
        scores.masked_fill(is_hidden, -std::numeric_limits<float>::infinity());
    const at::Tensor mixed =
        at::matmul(at::softmax(scores, -1), per_head(params.slot.v));
    View(params.out + first * s.num_heads * e, {num_new, s.num_heads, e})
        .copy_(mixed.transpose(0, 1));
  }

  at::Device device_;
};

}  // namespace

std::unique_ptr<KernelSet> CreateTorchKernelSet(at::Device device) {
  return std::make_unique<TorchKernelSet>(device);
}

}  // namespace stepd::kernels
