// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Cross-attention against a plain computation in double: every token of a
// session sees all rows of its session's source, and of no other.

#include "model/layers/cross_attention.h"

#include <cmath>
#include <cstdint>
#include <memory>
#include <vector>

#include "ATen/Functions.h"
#include "ATen/TensorOperators.h"
#include "gtest/gtest.h"
#include "model/kernels/cpu_kernel_set.h"
#include "model/kernels/cpu_kernels.h"
#include "model/kernels/torch_kernel_set.h"
#include "model/kv_cache/source_cache.h"

namespace stepd {
namespace {

constexpr int kBlock = kernels::kCpuTokensPerBlock;
constexpr std::int64_t kDim = 20;
constexpr std::int64_t kSourceDim = 9;

LinearWeights RandomLinear(std::int64_t out, std::int64_t in) {
  return {at::randn({out, in}) / std::sqrt(static_cast<double>(in)),
          at::Tensor()};
}

CrossAttentionConfig RandomConfig() {
  CrossAttentionConfig config;
  config.num_heads = 6;
  config.num_kv_heads = 2;
  config.head_dim = 5;
  config.q = {RandomLinear(6 * 5, kDim)};
  config.k = RandomLinear(2 * 5, kSourceDim);
  config.v = RandomLinear(2 * 5, kSourceDim);
  config.o = {RandomLinear(kDim, 6 * 5)};
  return config;
}

at::Tensor Heads(const LinearWeights& linear, const at::Tensor& x,
                 std::int64_t head_dim) {
  return at::matmul(x.to(at::kDouble), linear.weight.to(at::kDouble).t())
      .view({x.size(0), -1, head_dim})
      .transpose(0, 1);
}

// What the layer adds to rows of zeros of one session.
at::Tensor Plain(const CrossAttentionConfig& config, const at::Tensor& x,
                 const at::Tensor& source) {
  const std::int64_t group = config.num_heads / config.num_kv_heads;
  const at::Tensor q = Heads(config.q[0], x, config.head_dim);
  const at::Tensor k =
      Heads(config.k, source, config.head_dim).repeat_interleave(group, 0);
  const at::Tensor v =
      Heads(config.v, source, config.head_dim).repeat_interleave(group, 0);
  const at::Tensor weights =
      at::softmax(at::matmul(q, k.transpose(1, 2)) / std::sqrt(double{5}), -1);
  const at::Tensor mixed = at::matmul(weights, v).transpose(0, 1).flatten(1);
  return at::matmul(mixed, config.o[0].weight.to(at::kDouble).t());
}

// A batch of sessions with so many tokens each, one source each.
at::Tensor RunLayer(const kernels::KernelSet& kernels,
                    const CrossAttentionConfig& config, const at::Tensor& x,
                    const std::vector<std::int32_t>& indptr,
                    const std::vector<at::Tensor>& sources) {
  const CrossAttention layer(config, kernels, kBlock);
  std::vector<SourceCache> caches;
  for (const at::Tensor& source : sources) {
    caches.push_back(*SourceCache::Create({layer.source_spec()}, source.size(0),
                                          kBlock, at::kCPU));
    SourceRows rows;
    rows.x = source.const_data_ptr<float>();
    rows.layout = &caches.back().layout();
    layer.ReadSource(kernels, rows, caches.back().slot(0).slot);
  }
  std::vector<kernels::SourceKv> views;
  for (const SourceCache& cache : caches) views.push_back(cache.slot(0));
  kernels::BatchLayout layout;
  layout.positions.resize(static_cast<std::size_t>(x.size(0)));
  layout.query_indptr = indptr;
  layout.block_indptr.resize(indptr.size());
  layout.kv_lens.resize(indptr.size() - 1);
  Scratch scratch(at::kCPU);
  scratch.Reserve(layer.ScratchSize(x.size(0)));
  AttentionInputs inputs;
  inputs.layout = &layout;
  inputs.scratch = &scratch;
  inputs.sources = views;
  at::Tensor y = at::zeros_like(x);
  layer.AddTo(kernels, inputs, x.const_data_ptr<float>(), y.data_ptr<float>());
  return y;
}

TEST(CrossAttention, EveryTokenSeesItsSessionsWholeSource) {
  at::manual_seed(5);
  const CrossAttentionConfig config = RandomConfig();
  const at::Tensor x = at::randn({8, kDim});
  // One row; more than a block; a block.
  const std::vector<at::Tensor> sources = {at::randn({1, kSourceDim}),
                                           at::randn({21, kSourceDim}),
                                           at::randn({kBlock, kSourceDim})};
  const std::vector<std::int32_t> indptr = {0, 2, 7, 8};
  std::vector<at::Tensor> want;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    want.push_back(
        Plain(config, x.slice(0, indptr[i], indptr[i + 1]), sources[i]));
  }
  std::vector<std::unique_ptr<kernels::KernelSet>> sets;
  sets.push_back(kernels::CreateCpuKernelSet());
  sets.push_back(kernels::CreateTorchKernelSet(at::kCPU));
  for (const auto& kernels : sets) {
    const at::Tensor got = RunLayer(*kernels, config, x, indptr, sources);

    EXPECT_LT((got.to(at::kDouble) - at::cat(want)).abs().max().item<double>(),
              1e-5);
  }
}

}  // namespace
}  // namespace stepd
