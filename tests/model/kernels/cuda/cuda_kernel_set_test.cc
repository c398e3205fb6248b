// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Every kernel of the GPU against the CPU's, on the same random numbers.

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ATen/Functions.h"
#include "ATen/TensorOperators.h"
#include "gtest/gtest.h"
#include "model/kernels/cpu_kernel_set.h"
#include "model/kernels/kernel_set.h"
#include "tests/model/support/gpu.h"

namespace stepd::kernels {
namespace {

constexpr int kBlock = kCpuTokensPerBlock;
constexpr std::int64_t kNumBlocks = 160;
#ifdef STEPD_EMULATED  // on the CPU (tests/fakes/cuda)
constexpr bool kIsEmulated = true;
#else
constexpr bool kIsEmulated = false;
#endif

// What an operation runs on: `at` moves a tensor to the set's device.
struct Bench {
  const KernelSet& kernels;

  at::Tensor at(const at::Tensor& tensor) const {
    return tensor.to(kernels.device(), tensor.scalar_type(),
                     /*non_blocking=*/false, /*copy=*/true);
  }
  at::Tensor zeros(at::IntArrayRef shape) const { return at(at::zeros(shape)); }
};

float* Floats(const at::Tensor& tensor) { return tensor.data_ptr<float>(); }

class CudaKernelSetTest : public testing::Test {
 protected:
  void SetUp() override {
    STEPD_REQUIRE_GPU();
    gpu_ = OpenGpu(WeightPrecision::kFloat32);
    cpu_ = CreateCpuKernelSet();
    at::manual_seed(1);
  }

  // `run` gives what the operation wrote. It must make its inputs of the same
  // random numbers whenever it is called.
  void ExpectSame(const std::function<at::Tensor(const Bench&)>& run,
                  double tolerance = 1e-3) {
    at::manual_seed(2);
    const at::Tensor want = run({*cpu_});
    at::manual_seed(2);
    at::Tensor got = run({*gpu_.set});
    gpu_.set->Synchronize();
    got = got.to(at::kCPU);
    EXPECT_TRUE(at::allclose(got, want, tolerance, tolerance))
        << "apart by " << (got - want).abs().max().item<float>();
    EXPECT_GT(want.abs().max().item<float>(), 0.0F);
  }

  GpuKernels gpu_;
  std::unique_ptr<KernelSet> cpu_;
};

TEST_F(CudaKernelSetTest, NormsRows) {
  for (const std::int64_t dim : {1, 31, 64, 1000, 4096}) {
    ExpectSame([&](const Bench& bench) {
      const at::Tensor x = bench.at(at::randn({5, dim}) + 0.5);
      const at::Tensor weight = bench.at(at::randn({dim}));
      const at::Tensor bias = bench.at(at::randn({dim}));
      const at::Tensor y = bench.zeros({2, 5, dim});
      bench.kernels.RmsNorm(
          {Floats(x), 5, dim, Floats(weight), nullptr, 1e-5F, Floats(y)});
      bench.kernels.LayerNorm({Floats(x), 5, dim, Floats(weight), Floats(bias),
                               1e-5F, Floats(y) + 5 * dim});
      return y;
    });
  }
}

TEST_F(CudaKernelSetTest, NormsAndTurnsHeads) {
  for (const int dim : {7, 16, 128, 256}) {
    for (const RopePairing pairing :
         {RopePairing::kHalfSplit, RopePairing::kInterleaved}) {
      ExpectSame([&](const Bench& bench) {
        const std::int64_t stride = 5 * dim + 3;
        const at::Tensor x = bench.at(at::randn({6, stride}));
        const at::Tensor weight = bench.at(at::randn({dim}));
        const at::Tensor angle = at::rand({6, dim / 2});
        const at::Tensor cos = bench.at(angle.cos());
        const at::Tensor sin = bench.at(angle.sin());
        const HeadRows heads = {Floats(x), 6, stride, 5, dim};
        bench.kernels.NormHeads(heads, Floats(weight), 1e-6F);
        bench.kernels.Rope(heads, {Floats(cos), Floats(sin), pairing});
        return x;
      });
    }
  }
}

TEST_F(CudaKernelSetTest, TurnsPositionsAsTheHostDoes) {
  BatchLayout layout;
  layout.positions = {0, 1, 77, 4095};
  layout.query_indptr = {0, 4};
  layout.block_indptr = {0, 0};
  layout.kv_lens = {4};
  const at::Tensor frequencies = at::rand({9});
  const Bench bench = {*gpu_.set};
  const at::Tensor inverse = bench.at(frequencies);
  const at::Tensor cos = bench.zeros({4, 9});
  const at::Tensor sin = bench.zeros({4, 9});

  ASSERT_TRUE(gpu_.set->TurnPositions(layout, {Floats(inverse), 9, 1.5F},
                                      Floats(cos), Floats(sin)));
  gpu_.set->Synchronize();

  const at::Tensor positions = at::tensor({0.0F, 1.0F, 77.0F, 4095.0F});
  const at::Tensor angles = positions.unsqueeze(1) * frequencies;
  EXPECT_TRUE(at::allclose(cos.to(at::kCPU), angles.cos() * 1.5, 1e-4, 1e-5));
  EXPECT_TRUE(at::allclose(sin.to(at::kCPU), angles.sin() * 1.5, 1e-4, 1e-5));
}

TEST_F(CudaKernelSetTest, Activates) {
  for (const Activation activation :
       {Activation::kSilu, Activation::kGelu, Activation::kRelu,
        Activation::kLeakyRelu, Activation::kElu, Activation::kSoftplus,
        Activation::kSigmoid, Activation::kTanh}) {
    ExpectSame([&](const Bench& bench) {
      const at::Tensor x = bench.at(at::randn({3, 2 * 37}) * 12.0);
      const at::Tensor y = bench.zeros({3 * 37});
      bench.kernels.ActivateGated(activation, Floats(x), 3, 37, Floats(y));
      bench.kernels.Activate(activation, Floats(x), 3 * 74);
      return at::cat({x.flatten(), y});
    });
  }
}

TEST_F(CudaKernelSetTest, MultipliesBothPrecisionsAndStrides) {
  for (const std::int64_t in : {1, 24, 33, 256}) {
    for (const std::int64_t rows : {1, 7, 128, 300}) {
      ExpectSame([&](const Bench& bench) {
        const LinearWeights a = {at::randn({40, in}), at::randn({40})};
        const LinearWeights b = {at::randn({5, in}), at::randn({5})};
        const at::Tensor x = bench.at(at::randn({rows, in + 3}));
        const at::Tensor y = bench.at(at::randn({rows, 50}));
        const auto packed = bench.kernels.Pack({a, b});
        bench.kernels.Linear({packed.get(), Floats(x), rows, Floats(y),
                              LinearOutput::kStore, in + 3, 50});
        bench.kernels.Linear({packed.get(), Floats(x), rows, Floats(y),
                              LinearOutput::kAdd, in + 3, 50});
        bench.kernels.Synchronize();
        return y;
      });
    }
  }
}

TEST_F(CudaKernelSetTest, MultipliesBFloat16LikeTheCpu) {
  gpu_ = OpenGpu(WeightPrecision::kBFloat16);
  cpu_ = CreateCpuKernelSet(WeightPrecision::kBFloat16);
  ExpectSame([&](const Bench& bench) {
    const LinearWeights a = {at::randn({64, 100}), at::randn({64})};
    const at::Tensor x = bench.at(at::randn({9, 100}));
    const at::Tensor y = bench.zeros({9, 64});
    const auto packed = bench.kernels.Pack({a});
    bench.kernels.Linear({packed.get(), Floats(x), 9, Floats(y)});
    bench.kernels.Synchronize();
    return y;
  });
}

TEST_F(CudaKernelSetTest, MovesRows) {
  const std::vector<std::int32_t> rows = {3, 0, 4};
  const std::vector<float> scales = {0.5F, -2.0F, 1.0F};
  ExpectSame([&](const Bench& bench) {
    const at::Tensor x = bench.at(at::randn({6, 300}));
    const at::Tensor y = bench.at(at::randn({6, 300}));
    const at::Tensor gate = bench.at(at::randn({300}));
    bench.kernels.AddScaledRows(Floats(x), 300, rows, scales, Floats(y));
    bench.kernels.AddGated(Floats(x), 6, 300, Floats(gate), Floats(y));
    bench.kernels.GatherRows(Floats(y), 300, rows, Floats(x));
    bench.kernels.CopyColumns(
        {Floats(y) + 7, 300, Floats(x) + 5 * 300 + 2, 300, 1, 250});
    const std::vector<float> host(300, 4.0F);
    bench.kernels.CopyFromHost(host.data(), 300, Floats(x) + 4 * 300);
    bench.kernels.Zero(Floats(y), 300);
    return at::cat({x, y});
  });
}

TEST_F(CudaKernelSetTest, LoopsAndHalts) {
  ExpectSame([&](const Bench& bench) {
    const at::Tensor entry = bench.at(at::randn({4, 70}));
    const at::Tensor hidden = bench.at(at::randn({4, 70}));
    const at::Tensor vectors = bench.at(at::rand({3, 70}));
    const at::Tensor logits = bench.at(at::randn({4}) * 3.0);
    const at::Tensor spent = bench.at(at::rand({4}));
    const at::Tensor out = bench.zeros({2, 4, 70});
    const KernelSet::LoopRows loop = {4, 70, Floats(entry), Floats(hidden)};
    bench.kernels.LoopInput(loop, Floats(vectors), 50, Floats(out));
    bench.kernels.LoopUpdate(loop, Floats(vectors) + 70, Floats(vectors) + 140,
                             Floats(out));
    bench.kernels.LoopHalt(loop, Floats(logits), 0.9F, Floats(spent),
                           Floats(out) + 280);
    return at::cat({out.flatten(), hidden.flatten(), spent});
  });
}

TEST_F(CudaKernelSetTest, EmbedsTablesAndFourierFeatures) {
  const std::vector<std::int64_t> indices = {2, 0, 2};
  const std::vector<std::int64_t> offsets = {0, 600, 300};
  const std::vector<float> values = {0.1F, -3.0F, 2.5F, 0.0F, 1.0F, 40.0F};
  ExpectSame([&](const Bench& bench) {
    const at::Tensor table = bench.at(at::randn({3, 300}));
    const at::Tensor waves = bench.at(at::randn({3, 2, 300}));
    const at::Tensor x = bench.zeros({900});
    const ScatterTarget target = {Floats(x), offsets};
    bench.kernels.AddTableRows(Floats(table), 300, indices, target);
    bench.kernels.AddFourier(
        {Floats(waves), Floats(waves) + 600, Floats(waves) + 1200, 2, 300},
        values.data(), target);
    return x;
  });
}

// ---- Attention --------------------------------------------------------------

struct AttentionCase {
  std::string name;
  int num_heads = 4;
  int num_kv_heads = 2;
  int k_dim = 64;
  int v_dim = 64;
  bool shares_values = false;  // V is the first columns of K
  std::int64_t window_left = -1;
  // New tokens and tokens before them, per slice.
  std::vector<std::pair<std::int32_t, std::int32_t>> slices =
      kIsEmulated ? std::vector<std::pair<std::int32_t, std::int32_t>>{{1, 0},
                                                                       {5, 19},
                                                                       {1, 290}}
                  : std::vector<std::pair<std::int32_t, std::int32_t>>{
                        {1, 0}, {1, 16}, {5, 19}, {4, 300}, {40, 0}, {1, 700}};
};

// The last `slices.new` tokens of every slice, in blocks all over the place;
// or the tokens before them, if `is_history`.
BatchLayout LayOut(const AttentionCase& c, bool is_history) {
  BatchLayout layout;
  layout.query_indptr = {0};
  layout.block_indptr = {0};
  std::int32_t next_block = 3;
  for (const auto& [num_new, before] : c.slices) {
    const std::int32_t len = before + num_new;
    const std::int32_t num_blocks = (len + kBlock - 1) / kBlock;
    std::vector<std::int32_t> blocks;
    for (std::int32_t i = 0; i < num_blocks; ++i) {
      next_block = (next_block + 7) % static_cast<std::int32_t>(kNumBlocks - 1);
      blocks.push_back(next_block);
    }
    layout.block_indices.insert(layout.block_indices.end(), blocks.begin(),
                                blocks.end());
    layout.block_indptr.push_back(
        static_cast<std::int32_t>(layout.block_indices.size()));
    const std::int32_t begin = is_history ? 0 : before;
    const std::int32_t end = is_history ? before : len;
    for (std::int32_t place = begin; place < end; ++place) {
      layout.positions.push_back(place);
      layout.token_blocks.push_back(
          blocks[static_cast<std::size_t>(place / kBlock)]);
      layout.token_offsets.push_back(place % kBlock);
    }
    layout.query_indptr.push_back(
        static_cast<std::int32_t>(layout.positions.size()));
    layout.kv_lens.push_back(end);
  }
  return layout;
}

at::Tensor Attend(const Bench& bench, const AttentionCase& c) {
  const AttentionShape shape = {c.num_heads, c.num_kv_heads, c.k_dim, c.v_dim,
                                kBlock};
  const auto slot_of = [&](std::int64_t width) {
    return at::zeros({kNumBlocks * kBlock * c.num_kv_heads * width + 16},
                     at::TensorOptions(bench.kernels.kv_type())
                         .device(bench.kernels.device()));
  };
  const at::Tensor k_slot = slot_of(c.k_dim);
  const at::Tensor v_slot = slot_of(c.v_dim);
  const KvSlot slot = {k_slot.data_ptr(),
                       c.shares_values ? nullptr : v_slot.data_ptr()};
  const std::int64_t kv_width = c.num_kv_heads * (c.k_dim + c.v_dim);
  const auto append = [&](const BatchLayout& layout) {
    const at::Tensor kv = bench.at(at::randn({layout.num_tokens(), kv_width}));
    bench.kernels.AppendKv({&layout, shape, Floats(kv), kv_width,
                            Floats(kv) + c.num_kv_heads * c.k_dim, kv_width,
                            slot});
    bench.kernels.Synchronize();
  };
  append(LayOut(c, /*is_history=*/true));
  const BatchLayout layout = LayOut(c, /*is_history=*/false);
  append(layout);
  const std::int64_t n = layout.num_tokens();
  const std::int64_t q_width = c.num_heads * c.k_dim;
  const at::Tensor query = bench.at(at::randn({n, q_width + 8}));
  const at::Tensor out = bench.zeros({n, c.num_heads, c.v_dim});
  PagedAttentionParams params;
  params.layout = &layout;
  params.shape = shape;
  params.query = Floats(query);
  params.query_stride = q_width + 8;
  params.slot = slot;
  params.softmax_scale = 0.3F;
  params.window_left = c.window_left;
  params.out = Floats(out);
  bench.kernels.BeginForward(layout);
  bench.kernels.PagedAttention(params);
  bench.kernels.EndForward();
  bench.kernels.Synchronize();
  return out;
}

std::vector<AttentionCase> AttentionCases() {
  std::vector<AttentionCase> cases;
  for (const int dim : {16, 24, 32, 64, 80, 128, 192, 256, 5}) {
    cases.push_back({});
    cases.back().name = "heads_of_" + std::to_string(dim);
    cases.back().k_dim = dim;
    cases.back().v_dim = dim;
  }
  cases.push_back({"many_heads_of_one", 24, 1});
  cases.push_back({"no_groups", 6, 6});
  cases.push_back({"latent", 16, 1, 96, 64, true});
  cases.push_back({"wide_latent", 4, 1, 320, 256, true});
  cases.push_back({"narrow_values", 4, 2, 48, 20});
  cases.push_back({"window", 4, 2, 64, 64, false, 33});
  cases.push_back({"window_of_one", 4, 2, 64, 64, false, 0});
  cases.push_back({"one_long", 8, 8, 128, 128});
  cases.back().slices = {{1, kIsEmulated ? 400 : 2000}};
  cases.push_back({"many", 2, 1, 64, 64});
  cases.back().slices.assign(kIsEmulated ? 20 : 150, {1, 3});
  return cases;
}

class CudaAttentionTest : public CudaKernelSetTest,
                          public testing::WithParamInterface<AttentionCase> {};

INSTANTIATE_TEST_SUITE_P(Cases, CudaAttentionTest,
                         testing::ValuesIn(AttentionCases()),
                         [](const auto& info) { return info.param.name; });

TEST_P(CudaAttentionTest, EqualsTheCpus) {
  ExpectSame([](const Bench& bench) { return Attend(bench, GetParam()); });
}

TEST_P(CudaAttentionTest, EqualsTheCpusWithSplitsOfOneSize) {
  gpu_ = OpenGpu(WeightPrecision::kFloat32, /*is_deterministic=*/true);
  ExpectSame([](const Bench& bench) { return Attend(bench, GetParam()); });
}

TEST_P(CudaAttentionTest, IsCloseWithKeysInBFloat16) {
  gpu_ = OpenGpu(WeightPrecision::kBFloat16);
  ExpectSame([](const Bench& bench) { return Attend(bench, GetParam()); }, 0.1);
}

}  // namespace
}  // namespace stepd::kernels
