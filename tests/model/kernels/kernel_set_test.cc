// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// stepd's kernels against LibTorch's operators, behind one interface.

#include "model/kernels/kernel_set.h"

#include <cstdint>
#include <memory>
#include <vector>

#include "ATen/Functions.h"
#include "ATen/TensorOperators.h"
#include "gtest/gtest.h"
#include "model/kernels/cpu_kernel_set.h"
#include "model/kernels/torch_kernel_set.h"

namespace stepd::kernels {
namespace {

constexpr int kBlock = kCpuTokensPerBlock;

// Three slices: a first token, a decode step across a block border, a prefill
// on a filled cache.
BatchLayout MakeLayout() {
  BatchLayout layout;
  layout.query_indptr = {0, 1, 2, 7};
  layout.block_indptr = {0, 1, 3, 5};
  layout.block_indices = {4, 0, 3, 5, 1};
  layout.kv_lens = {1, 17, 24};
  layout.positions = {0, 16, 19, 20, 21, 22, 23};
  layout.token_blocks = {4, 3, 1, 1, 1, 1, 1};
  layout.token_offsets = {0, 0, 3, 4, 5, 6, 7};
  return layout;
}

// Appends every token of every slice, then attends for the new ones.
at::Tensor Attend(const KernelSet& kernels, bool has_norms, RopePairing pairing,
                  std::int64_t window_left) {
  at::manual_seed(7);
  const AttentionShape shape = {6, 2, 24, 24, kBlock};
  const std::int64_t heads = shape.num_heads + 2 * shape.num_kv_heads;
  at::Tensor k = at::zeros({6 * shape.k_block_elements() + 15});
  at::Tensor v = at::zeros({6 * shape.k_block_elements() + 15});
  const at::Tensor q_norm = at::rand({shape.k_dim});
  const at::Tensor k_norm = at::rand({shape.k_dim});

  const auto append = [&](const BatchLayout& layout) {
    const std::int64_t n = layout.num_tokens();
    at::Tensor qkv = at::randn({n, heads, shape.k_dim});
    const at::Tensor angle = at::rand({n, shape.k_dim / 2});
    const at::Tensor cos = angle.cos();
    const at::Tensor sin = angle.sin();
    float* q = qkv.data_ptr<float>();
    float* keys = q + shape.num_heads * shape.k_dim;
    const std::int64_t stride = heads * shape.k_dim;
    const HeadRows q_heads = {q, n, stride, shape.num_heads, shape.k_dim};
    const HeadRows k_heads = {keys, n, stride, shape.num_kv_heads, shape.k_dim};
    if (has_norms) {
      kernels.NormHeads(q_heads, q_norm.const_data_ptr<float>(), 1e-6F);
      kernels.NormHeads(k_heads, k_norm.const_data_ptr<float>(), 1e-6F);
    }
    const RopeRows rope = {cos.const_data_ptr<float>(),
                           sin.const_data_ptr<float>(), pairing};
    kernels.Rope(q_heads, rope);
    kernels.Rope(k_heads, rope);
    kernels.AppendKv({&layout,
                      shape,
                      keys,
                      stride,
                      keys + shape.num_kv_heads * shape.k_dim,
                      stride,
                      {k.data_ptr<float>(), v.data_ptr<float>()}});
    return qkv;
  };

  const BatchLayout layout = MakeLayout();
  BatchLayout history;
  for (std::int32_t t = 0; t < 16; ++t) {
    history.positions.push_back(t);
    history.token_blocks.push_back(0);
    history.token_offsets.push_back(t);
  }
  for (std::int32_t t = 0; t < 19; ++t) {
    history.positions.push_back(t);
    history.token_blocks.push_back(t < kBlock ? 5 : 1);
    history.token_offsets.push_back(t % kBlock);
  }
  append(history);
  const at::Tensor qkv = append(layout);

  at::Tensor out =
      at::zeros({layout.num_tokens(), shape.num_heads, shape.k_dim});
  PagedAttentionParams params;
  params.layout = &layout;
  params.shape = shape;
  params.query = qkv.const_data_ptr<float>();
  params.query_stride = heads * shape.k_dim;
  params.slot = {k.data_ptr<float>(), v.data_ptr<float>()};
  params.softmax_scale = 0.2F;
  params.window_left = window_left;
  params.out = out.data_ptr<float>();
  kernels.PagedAttention(params);
  return out;
}

TEST(KernelSet, RaggedPagedAttentionEqualsLibTorch) {
  const auto cpu = CreateCpuKernelSet();
  const auto torch = CreateTorchKernelSet(at::kCPU);
  for (const bool has_norms : {false, true}) {
    for (const RopePairing pairing :
         {RopePairing::kHalfSplit, RopePairing::kInterleaved}) {
      for (std::int64_t window_left : {-1, 4}) {
        const at::Tensor got = Attend(*cpu, has_norms, pairing, window_left);
        const at::Tensor want = Attend(*torch, has_norms, pairing, window_left);

        EXPECT_LT((got - want).abs().max().item<float>(), 1e-5F)
            << "norms " << has_norms << " pairing " << static_cast<int>(pairing)
            << " window " << window_left;
      }
    }
  }
}

TEST(KernelSet, StackedLinearsEqualLibTorch) {
  at::manual_seed(3);
  const LinearWeights a = {at::randn({5, 12}), at::randn({5})};
  const LinearWeights b = {at::randn({40, 12}), at::randn({40})};
  const at::Tensor x = at::randn({9, 12});
  const at::Tensor residual = at::randn({9, 45});
  const at::Tensor product = at::cat(
      {at::linear(x, a.weight, a.bias), at::linear(x, b.weight, b.bias)}, 1);
  std::vector<std::unique_ptr<KernelSet>> sets;
  sets.push_back(CreateCpuKernelSet());
  sets.push_back(CreateTorchKernelSet(at::kCPU));
  for (const auto& kernels : sets) {
    const auto packed = kernels->Pack({a, b});
    at::Tensor stored = at::zeros({9, 45});
    at::Tensor added = residual.clone();

    kernels->Linear(
        {packed.get(), x.const_data_ptr<float>(), 9, stored.data_ptr<float>()});
    kernels->Linear({packed.get(), x.const_data_ptr<float>(), 9,
                     added.data_ptr<float>(), LinearOutput::kAdd});

    EXPECT_LT((stored - product).abs().max().item<float>(), 1e-5F);
    EXPECT_LT((added - residual - product).abs().max().item<float>(), 1e-5F);
  }
}

TEST(KernelSet, ActivationsEqualLibTorch) {
  at::manual_seed(11);
  const auto cpu = CreateCpuKernelSet();
  const auto torch = CreateTorchKernelSet(at::kCPU);
  const at::Tensor x = at::randn({3, 2 * 37}) * 12.0;
  for (const Activation activation :
       {Activation::kSilu, Activation::kGelu, Activation::kRelu,
        Activation::kLeakyRelu, Activation::kElu, Activation::kSoftplus,
        Activation::kSigmoid, Activation::kTanh}) {
    at::Tensor got = x.clone();
    at::Tensor want = x.clone();
    at::Tensor got_gated = at::zeros({3, 37});
    at::Tensor want_gated = at::zeros({3, 37});

    cpu->Activate(activation, got.data_ptr<float>(), got.numel());
    torch->Activate(activation, want.data_ptr<float>(), want.numel());
    cpu->ActivateGated(activation, x.const_data_ptr<float>(), 3, 37,
                       got_gated.data_ptr<float>());
    torch->ActivateGated(activation, x.const_data_ptr<float>(), 3, 37,
                         want_gated.data_ptr<float>());

    EXPECT_TRUE(at::allclose(got, want, 1e-5, 1e-6))
        << static_cast<int>(activation);
    EXPECT_TRUE(at::allclose(got_gated, want_gated, 1e-5, 1e-5))
        << static_cast<int>(activation);
  }
}

TEST(KernelSet, TheLastElementOfAnOddHeadIsNotTurned) {
  at::manual_seed(13);
  const at::Tensor x = at::randn({4, 3, 7});
  const at::Tensor angle = at::rand({4, 3});
  const at::Tensor cos = angle.cos();
  const at::Tensor sin = angle.sin();
  for (const RopePairing pairing :
       {RopePairing::kHalfSplit, RopePairing::kInterleaved}) {
    at::Tensor got = x.clone();
    at::Tensor want = x.clone();
    const RopeRows rope = {cos.const_data_ptr<float>(),
                           sin.const_data_ptr<float>(), pairing};

    CreateCpuKernelSet()->Rope({got.data_ptr<float>(), 4, 21, 3, 7}, rope);
    CreateTorchKernelSet(at::kCPU)->Rope({want.data_ptr<float>(), 4, 21, 3, 7},
                                         rope);

    EXPECT_TRUE(at::allclose(got, want, 1e-5, 1e-6));
    EXPECT_TRUE(at::equal(got.select(-1, 6), x.select(-1, 6)));
    EXPECT_FALSE(at::allclose(got, x, 1e-2, 1e-2));
  }
}

TEST(KernelSet, AddsGatedRows) {
  at::manual_seed(17);
  const at::Tensor x = at::randn({5, 9});
  const at::Tensor gate = at::randn({9});
  const at::Tensor y = at::randn({5, 9});
  std::vector<std::unique_ptr<KernelSet>> sets;
  sets.push_back(CreateCpuKernelSet());
  sets.push_back(CreateTorchKernelSet(at::kCPU));
  for (const auto& kernels : sets) {
    at::Tensor sum = y.clone();

    kernels->AddGated(x.const_data_ptr<float>(), 5, 9,
                      gate.const_data_ptr<float>(), sum.data_ptr<float>());

    EXPECT_TRUE(at::allclose(sum, y + gate * x, 1e-5, 1e-6));
  }
}

TEST(BankOrder, SortsRowsByBankAndKeepsTheirOrder) {
  BankOrder order;

  order.Assign({2, 0, 2, 1, 0}, 4);

  EXPECT_FALSE(order.is_sorted);
  EXPECT_EQ(order.indptr, (std::vector<std::int32_t>{0, 2, 3, 5, 5}));
  EXPECT_EQ(order.rows, (std::vector<std::int32_t>{1, 4, 3, 0, 2}));
  EXPECT_EQ(order.places, (std::vector<std::int32_t>{3, 0, 4, 2, 1}));

  order.Assign({0, 0, 2}, 3);

  EXPECT_TRUE(order.is_sorted);
  EXPECT_EQ(order.indptr, (std::vector<std::int32_t>{0, 2, 2, 3}));
}

TEST(KernelSet, HalfPrecisionWeightsArePackedAsTheirFloat32Values) {
  at::manual_seed(5);
  const at::Tensor weight = at::randn({8, 16}).to(at::kBFloat16);
  const at::Tensor x = at::randn({2, 16});
  const auto kernels = CreateCpuKernelSet();
  const auto packed = kernels->Pack({{weight, at::Tensor()}});
  at::Tensor y = at::zeros({2, 8});

  kernels->Linear(
      {packed.get(), x.const_data_ptr<float>(), 2, y.data_ptr<float>()});

  const at::Tensor want = at::linear(x, weight.to(at::kFloat));
  EXPECT_LT((y - want).abs().max().item<float>(), 1e-5F);
}

TEST(KernelSet, BFloat16RoundsWhatPackMakesAndNothingElse) {
  at::manual_seed(6);
  const LinearWeights linear = {at::randn({24, 33}), at::randn({24})};
  const at::Tensor x = at::randn({5, 33});
  const auto round = [](const at::Tensor& t) {
    return t.to(at::kBFloat16).to(at::kFloat);
  };
  const at::Tensor exact = at::linear(x, linear.weight, linear.bias);
  const at::Tensor rounded =
      at::linear(round(x), round(linear.weight), linear.bias);
  std::vector<std::unique_ptr<KernelSet>> sets;
  sets.push_back(CreateCpuKernelSet(WeightPrecision::kBFloat16));
  sets.push_back(CreateTorchKernelSet(at::kCPU, WeightPrecision::kBFloat16));
  for (const auto& kernels : sets) {
    const auto packed = kernels->Pack({linear});
    EXPECT_EQ(kernels->resident_bytes(), 24 * 33 * 2 + 24 * 4);
    const auto decisive = kernels->PackFloat32({linear});
    at::Tensor y = at::zeros({5, 24});
    at::Tensor y_decisive = at::zeros({5, 24});

    kernels->Linear(
        {packed.get(), x.const_data_ptr<float>(), 5, y.data_ptr<float>()});
    kernels->Linear({decisive.get(), x.const_data_ptr<float>(), 5,
                     y_decisive.data_ptr<float>()});

    // LibTorch rounds the sum as well.
    EXPECT_LT((y - rounded).abs().max().item<float>(), 0.07F);
    EXPECT_GT((y - exact).abs().max().item<float>(), 1e-4F);
    EXPECT_LT((y_decisive - exact).abs().max().item<float>(), 1e-5F);
  }
}

}  // namespace
}  // namespace stepd::kernels
