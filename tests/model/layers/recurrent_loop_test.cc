// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The recurrent loop against a plain computation in double of the formulas in
// decoder_config.h. A half stands for the stage's layers.

#include "model/layers/recurrent_loop.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <vector>

#include "ATen/Functions.h"
#include "ATen/TensorOperators.h"
#include "gtest/gtest.h"
#include "model/kernels/cpu_kernel_set.h"
#include "model/kernels/torch_kernel_set.h"

namespace stepd {
namespace {

constexpr std::int64_t kDim = 18;
constexpr std::int64_t kColumns = 5;
constexpr std::int64_t kRank = 3;
constexpr std::int64_t kRows = 8;

RecurrentLoopConfig RandomLoop(int num_loops, std::int64_t trained_loops) {
  RecurrentLoopConfig loop;
  loop.num_loops = num_loops;
  loop.loop_embeddings = at::randn({num_loops, kColumns});
  loop.norm.weight = at::rand({kDim}) + 0.5;
  loop.norm.eps = 1e-6F;
  loop.decay = at::rand({kDim});
  loop.injection = at::randn({kDim}) * 0.3;
  loop.lora_down = {at::randn({kRank, kDim}) * 0.3, at::Tensor()};
  loop.lora_scale = at::randn({trained_loops, kRank});
  loop.lora_up = at::randn({kRank, kDim}) * 0.3;
  loop.halt = {at::randn({1, kDim}) * 0.3, at::randn({1})};
  return loop;
}

// ---- In double ------------------------------------------------------------

at::Tensor Double(const at::Tensor& tensor) { return tensor.to(at::kDouble); }

at::Tensor Layers(const at::Tensor& c) { return c * 0.5; }

struct PlainResult {
  at::Tensor out;      // [rows, D]
  int num_halted = 0;  // tokens that reached the threshold
};

PlainResult Plain(const RecurrentLoopConfig& loop, const at::Tensor& x) {
  PlainResult result{at::zeros(x.sizes(), at::kDouble)};
  for (std::int64_t i = 0; i < x.size(0); ++i) {
    const at::Tensor e = Double(x[i]);
    at::Tensor h = e.clone();
    double cum = 0.0;
    bool is_halted = false;
    for (std::int64_t t = 0; t < loop.num_loops; ++t) {
      at::Tensor c = h + e;
      c.narrow(0, 0, kColumns) += Double(loop.loop_embeddings[t]);
      c = c / (c.square().mean() + loop.norm.eps).sqrt() *
          Double(loop.norm.weight);
      at::Tensor y = Layers(c);
      const std::int64_t row = std::min(t, loop.lora_scale.size(0) - 1);
      y = y + at::matmul(at::matmul(Double(loop.lora_down.weight), y) *
                             Double(loop.lora_scale[row]),
                         Double(loop.lora_up));
      h = Double(loop.decay) * h + Double(loop.injection) * e + y;
      const double logit =
          at::dot(h, Double(loop.halt.weight[0])).item<double>() +
          loop.halt.bias.item<double>();
      const double p = 1.0 / (1.0 + std::exp(-logit));
      if (is_halted) continue;
      const double weight =
          cum + p >= loop.halt_threshold ? std::max(1.0 - cum, 0.0) : p;
      result.out[i] += h * weight;
      cum += p;
      is_halted = cum >= loop.halt_threshold;
      if (is_halted) ++result.num_halted;
    }
  }
  return result;
}

// ---- The layer ------------------------------------------------------------

at::Tensor RunLayer(const kernels::KernelSet& kernels,
                    const RecurrentLoopConfig& config, const at::Tensor& x) {
  const RecurrentLoop loop(config, kernels);
  Scratch scratch(at::kCPU);
  scratch.Reserve(loop.ScratchSize(kRows));
  const RecurrentLoop::State state =
      loop.Begin(kernels, x.const_data_ptr<float>(), kRows, &scratch);
  at::Tensor y = at::zeros({kRows, kDim});
  for (int t = 0; t < loop.num_loops(); ++t) {
    loop.Enter(kernels, state, t, y.data_ptr<float>());
    y.copy_(Layers(y));
    loop.Leave(kernels, state, t, &scratch, y.data_ptr<float>());
  }
  return at::from_blob(state.out, {kRows, kDim}).clone();
}

class RecurrentLoopTest : public testing::Test {
 protected:
  RecurrentLoopTest() {
    at::manual_seed(17);
    sets_.push_back(kernels::CreateCpuKernelSet());
    sets_.push_back(kernels::CreateTorchKernelSet(at::kCPU));
  }

  // Returns how many of kRows tokens halted.
  int ExpectPlain(const RecurrentLoopConfig& loop) {
    const at::Tensor x = at::randn({kRows, kDim});
    const PlainResult want = Plain(loop, x);
    for (const auto& kernels : sets_) {
      const at::Tensor difference = RunLayer(*kernels, loop, x) - want.out;
      EXPECT_LT(difference.abs().max().item<double>(), 1e-5);
    }
    return want.num_halted;
  }

  std::vector<std::unique_ptr<const kernels::KernelSet>> sets_;
};

TEST_F(RecurrentLoopTest, EqualsItsFormulas) { ExpectPlain(RandomLoop(4, 4)); }

TEST_F(RecurrentLoopTest, LoopsBeyondTheTrainedOnesUseTheLastScale) {
  ExpectPlain(RandomLoop(6, 2));
}

TEST_F(RecurrentLoopTest, SomeTokensHaltBeforeOthers) {
  RecurrentLoopConfig loop = RandomLoop(5, 5);
  loop.halt.bias = at::zeros({1}) - 1.0;
  loop.halt_threshold = 0.9F;

  const int num_halted = ExpectPlain(loop);

  EXPECT_GT(num_halted, 0);
  EXPECT_LT(num_halted, kRows);
}

// Without a remainder the weights of a token may sum to less than one.
TEST_F(RecurrentLoopTest, TokensThatNeverHaltKeepTheirWeights) {
  RecurrentLoopConfig loop = RandomLoop(3, 3);
  loop.halt.bias = at::zeros({1}) - 6.0;

  EXPECT_EQ(ExpectPlain(loop), 0);
}

// 1 - cum would be negative.
TEST_F(RecurrentLoopTest, AThresholdAboveOneGivesNoNegativeWeight) {
  RecurrentLoopConfig loop = RandomLoop(4, 4);
  loop.halt.bias = at::zeros({1}) + 1.0;
  loop.halt_threshold = 1.3F;

  EXPECT_GT(ExpectPlain(loop), 0);
}

}  // namespace
}  // namespace stepd
