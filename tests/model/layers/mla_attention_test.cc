// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Latent attention against a plain computation in double, which expands the
// keys and values of every head as the paper has them (arXiv:2405.04434).

#include "model/layers/mla_attention.h"

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
#include "model/layers/rope_cache.h"

namespace stepd {
namespace {

constexpr int kBlock = kernels::kCpuTokensPerBlock;
constexpr std::int64_t kDim = 20;
constexpr std::int64_t kQueryRank = 9;
constexpr std::int64_t kNumTokens = 21;  // more than a block

LinearWeights RandomLinear(std::int64_t out, std::int64_t in) {
  return {at::randn({out, in}) / std::sqrt(static_cast<double>(in)),
          at::Tensor()};
}

NormConfig RandomNorm(std::int64_t dim) {
  NormConfig norm;
  norm.weight = at::rand({dim}) + 0.5;
  norm.eps = 1e-6F;
  return norm;
}

MlaConfig RandomMla(RopePairing pairing) {
  MlaConfig mla;
  mla.num_heads = 3;
  mla.latent_dim = 11;
  mla.nope_dim = 5;
  mla.rope_dim = 4;
  mla.v_dim = 7;
  mla.q_down = RandomLinear(kQueryRank, kDim);
  mla.q_norm = RandomNorm(kQueryRank);
  mla.q_up_nope = RandomLinear(3 * 5, kQueryRank);
  mla.q_up_rope = RandomLinear(3 * 4, kQueryRank);
  mla.kv_down = RandomLinear(11 + 4, kDim);
  mla.kv_norm = RandomNorm(11);
  mla.kv_up = RandomLinear(3 * (5 + 7), 11).weight;
  mla.o = RandomLinear(kDim, 3 * 7);
  mla.rope.inverse_frequencies = {1.0F, 0.3F};
  mla.rope.pairing = pairing;
  return mla;
}

// ---- In double ------------------------------------------------------------

at::Tensor Apply(const LinearWeights& linear, const at::Tensor& x) {
  return at::matmul(x, linear.weight.to(at::kDouble).t());
}

at::Tensor Norm(const NormConfig& norm, const at::Tensor& x) {
  const at::Tensor mean = x.square().mean(-1, /*keepdim=*/true);
  return x / (mean + norm.eps).sqrt() * norm.weight.to(at::kDouble);
}

// x [T, heads, rope_dim], positions 0 to T - 1.
at::Tensor Rope(const RopeConfig& rope, const at::Tensor& x) {
  at::Tensor y = x.clone();
  const std::int64_t half = x.size(2) / 2;
  for (std::int64_t t = 0; t < x.size(0); ++t) {
    for (std::int64_t i = 0; i < half; ++i) {
      const bool is_split = rope.pairing == RopePairing::kHalfSplit;
      const std::int64_t a = is_split ? i : 2 * i;
      const std::int64_t b = is_split ? i + half : 2 * i + 1;
      const double angle =
          static_cast<double>(t) *
          rope.inverse_frequencies[static_cast<std::size_t>(i)];
      const at::Tensor xa = x[t].select(1, a);
      const at::Tensor xb = x[t].select(1, b);
      y[t].select(1, a).copy_(xa * std::cos(angle) - xb * std::sin(angle));
      y[t].select(1, b).copy_(xa * std::sin(angle) + xb * std::cos(angle));
    }
  }
  return y;
}

at::Tensor Plain(const MlaConfig& mla, const at::Tensor& rows) {
  const at::Tensor x = rows.to(at::kDouble);
  const std::int64_t tokens = x.size(0);
  const std::int64_t heads = mla.num_heads;
  const at::Tensor c = Norm(mla.q_norm, Apply(mla.q_down, x));
  const at::Tensor query = at::cat(
      {Apply(mla.q_up_nope, c).view({tokens, heads, mla.nope_dim}),
       Rope(mla.rope,
            Apply(mla.q_up_rope, c).view({tokens, heads, mla.rope_dim}))},
      2);
  const at::Tensor down = Apply(mla.kv_down, x);
  const at::Tensor latent =
      Norm(mla.kv_norm, down.narrow(1, 0, mla.latent_dim));
  const at::Tensor rope_key =
      Rope(mla.rope, down.narrow(1, mla.latent_dim, mla.rope_dim)
                         .reshape({tokens, 1, mla.rope_dim}));
  const at::Tensor up = at::matmul(latent, mla.kv_up.to(at::kDouble).t())
                            .view({tokens, heads, mla.nope_dim + mla.v_dim});
  const at::Tensor key =
      at::cat({up.narrow(2, 0, mla.nope_dim),
               rope_key.expand({tokens, heads, mla.rope_dim})},
              2);
  const at::Tensor value = up.narrow(2, mla.nope_dim, mla.v_dim);
  const double scale =
      1.0 / std::sqrt(static_cast<double>(mla.nope_dim + mla.rope_dim));
  const at::Tensor future =
      at::ones({tokens, tokens}, at::kBool).triu(/*diagonal=*/1);
  const at::Tensor scores = (at::einsum("ihd,jhd->hij", {query, key}) * scale)
                                .masked_fill(future, -1e300);
  const at::Tensor mixed =
      at::einsum("hij,jhd->ihd", {at::softmax(scores, 2), value});
  return Apply(mla.o, mixed.reshape({tokens, heads * mla.v_dim}));
}

// ---- The layer ------------------------------------------------------------

// One session, its tokens in calls of the given sizes.
at::Tensor RunLayer(const kernels::KernelSet& kernels, const MlaConfig& config,
                    const at::Tensor& x,
                    const std::vector<std::int32_t>& calls) {
  const MlaAttention attention(config, kernels, kBlock);
  const std::vector<std::int32_t> blocks = {1, 0};
  at::Tensor cache = at::zeros(
      {2 * kBlock * attention.cache_spec().k_per_token + 16}, at::kFloat);
  RopeCache rope(config.rope);
  Scratch scratch(at::kCPU);
  at::Tensor y = at::zeros_like(x);
  std::int32_t position = 0;
  for (const std::int32_t count : calls) {
    const std::int32_t begin = position;
    kernels::BatchLayout layout;
    layout.query_indptr = {0, count};
    layout.block_indptr = {0, 2};
    layout.block_indices = blocks;
    layout.kv_lens = {begin + count};
    for (; position < begin + count; ++position) {
      layout.positions.push_back(position);
      layout.token_blocks.push_back(
          blocks[static_cast<std::size_t>(position / kBlock)]);
      layout.token_offsets.push_back(position % kBlock);
    }
    at::Tensor cos = at::zeros({count, rope.half_dim()});
    at::Tensor sin = at::zeros({count, rope.half_dim()});
    rope.Lookup(layout.positions, cos.data_ptr<float>(), sin.data_ptr<float>());
    scratch.Reserve(attention.ScratchSize(count));
    AttentionInputs inputs;
    inputs.layout = &layout;
    inputs.rope = {cos.const_data_ptr<float>(), sin.const_data_ptr<float>(),
                   config.rope.pairing};
    inputs.slot.k = cache.data_ptr<float>();
    inputs.scratch = &scratch;
    attention.AddTo(kernels, inputs, x.const_data_ptr<float>() + begin * kDim,
                    y.data_ptr<float>() + begin * kDim);
  }
  return y;
}

TEST(MlaAttention, EqualsTheExpandedComputation) {
  at::manual_seed(13);
  std::vector<std::unique_ptr<const kernels::KernelSet>> sets;
  sets.push_back(kernels::CreateCpuKernelSet());
  sets.push_back(kernels::CreateTorchKernelSet(at::kCPU));
  for (const RopePairing pairing :
       {RopePairing::kHalfSplit, RopePairing::kInterleaved}) {
    const MlaConfig mla = RandomMla(pairing);
    const at::Tensor x = at::randn({kNumTokens, kDim});
    const at::Tensor want = Plain(mla, x);
    for (const auto& kernels : sets) {
      for (const std::vector<std::int32_t>& calls :
           {std::vector<std::int32_t>{21}, {1, 1, 14, 5}}) {
        const at::Tensor got = RunLayer(*kernels, mla, x, calls);

        EXPECT_LT((got.to(at::kDouble) - want).abs().max().item<double>(), 1e-5)
            << "pairing " << static_cast<int>(pairing) << ", " << calls.size()
            << " calls, " << kernels->description();
      }
    }
  }
}

TEST(MlaAttention, CachesOneLatentAndOneRopeKeyPerToken) {
  const auto kernels = kernels::CreateCpuKernelSet();
  const MlaAttention attention(RandomMla(RopePairing::kHalfSplit), *kernels,
                               kBlock);

  EXPECT_EQ(attention.cache_spec().k_per_token, 11 + 4);
  EXPECT_EQ(attention.cache_spec().v_per_token, 0);
}

}  // namespace
}  // namespace stepd
