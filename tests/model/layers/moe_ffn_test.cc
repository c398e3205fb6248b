// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The mixture of experts against a plain computation in double, token by token.

#include "model/layers/moe_ffn.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <vector>

#include "ATen/Functions.h"
#include "ATen/TensorOperators.h"
#include "gtest/gtest.h"
#include "model/kernels/cpu_kernel_set.h"
#include "model/kernels/torch_kernel_set.h"

namespace stepd {
namespace {

constexpr std::int64_t kDim = 12;
constexpr int kNumExperts = 6;

LinearWeights RandomLinear(std::int64_t out, std::int64_t in) {
  return {at::randn({out, in}) / std::sqrt(static_cast<double>(in)),
          at::Tensor()};
}

DenseFfnConfig RandomExpert(std::int64_t width) {
  DenseFfnConfig ffn;
  ffn.gate = RandomLinear(width, kDim);
  ffn.up = RandomLinear(width, kDim);
  ffn.down = RandomLinear(kDim, width);
  return ffn;
}

MoeConfig RandomMoe() {
  MoeConfig moe;
  moe.router = RandomLinear(kNumExperts, kDim);
  moe.top_k = 2;
  for (int e = 0; e < kNumExperts; ++e) moe.experts.push_back(RandomExpert(7));
  return moe;
}

// ---- In double ------------------------------------------------------------

at::Tensor Apply(const LinearWeights& linear, const at::Tensor& x) {
  return at::matmul(linear.weight.to(at::kDouble), x);
}

at::Tensor Expert(const DenseFfnConfig& ffn, const at::Tensor& x) {
  const at::Tensor gate = Apply(ffn.gate, x);
  return Apply(ffn.down, gate / (1.0 + (-gate).exp()) * Apply(ffn.up, x));
}

struct Choice {
  int expert;
  double weight;
};

// The experts of one token, best first.
std::vector<Choice> Choose(const MoeConfig& moe, const at::Tensor& x) {
  const at::Tensor z = Apply(moe.router, x);
  const at::Tensor scores = moe.scores == RouterScores::kSoftmax
                                ? at::softmax(z, 0)
                                : 1.0 / (1.0 + (-z).exp());
  const at::Tensor preference =
      moe.selection_bias.defined() ? z + moe.selection_bias.to(at::kDouble) : z;
  std::vector<int> order(kNumExperts);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    return preference[a].item<double>() > preference[b].item<double>();
  });
  std::vector<Choice> choices;
  double sum = 0.0;
  for (int k = 0; k < moe.top_k; ++k) {
    const int expert = order[static_cast<std::size_t>(k)];
    choices.push_back({expert, scores[expert].item<double>()});
    sum += choices.back().weight;
  }
  for (Choice& choice : choices) choice.weight /= sum;
  return choices;
}

// `capacity` tokens of one session for each slot of each expert.
at::Tensor Plain(const MoeConfig& moe, const at::Tensor& x, int capacity) {
  at::Tensor y = at::zeros(x.sizes(), at::kDouble);
  std::vector<std::vector<int>> taken(
      static_cast<std::size_t>(moe.top_k),
      std::vector<int>(static_cast<std::size_t>(kNumExperts)));
  for (std::int64_t i = 0; i < x.size(0); ++i) {
    const at::Tensor token = x[i].to(at::kDouble);
    const std::vector<Choice> choices = Choose(moe, token);
    for (std::size_t k = 0; k < choices.size(); ++k) {
      const auto expert = static_cast<std::size_t>(choices[k].expert);
      if (taken[k][expert]++ >= capacity) continue;
      y[i] += Expert(moe.experts[expert], token) * choices[k].weight;
    }
    for (const DenseFfnConfig& shared : moe.shared_experts) {
      y[i] += Expert(shared, token);
    }
  }
  return y;
}

// ---- The layer ------------------------------------------------------------

// One batch of sessions with so many tokens each.
at::Tensor RunLayer(const kernels::KernelSet& kernels, const MoeConfig& moe,
                    const at::Tensor& x,
                    const std::vector<std::int32_t>& tokens) {
  std::vector<std::int32_t> indptr = {0};
  for (const std::int32_t count : tokens) {
    indptr.push_back(indptr.back() + count);
  }
  const MoeFfn ffn(moe, kernels);
  Scratch scratch(at::kCPU);
  scratch.Reserve(ffn.ScratchSize(x.size(0)));
  at::Tensor y = at::zeros_like(x);
  ffn.AddTo(kernels, indptr, x.const_data_ptr<float>(), &scratch,
            y.data_ptr<float>());
  return y;
}

void ExpectClose(const at::Tensor& got, const at::Tensor& want) {
  EXPECT_LT((got.to(at::kDouble) - want).abs().max().item<double>(), 1e-5);
}

class MoeFfnTest : public testing::Test {
 protected:
  MoeFfnTest() {
    at::manual_seed(11);
    sets_.push_back(kernels::CreateCpuKernelSet());
    sets_.push_back(kernels::CreateTorchKernelSet(at::kCPU));
  }

  void ExpectPlain(const MoeConfig& moe) {
    const at::Tensor x = at::randn({9, kDim});
    for (const auto& kernels : sets_) {
      ExpectClose(RunLayer(*kernels, moe, x, {9}),
                  Plain(moe, x, /*capacity=*/9));
    }
  }

  std::vector<std::unique_ptr<const kernels::KernelSet>> sets_;
};

TEST_F(MoeFfnTest, SoftmaxScoresWeighTheChosenExperts) {
  ExpectPlain(RandomMoe());
}

TEST_F(MoeFfnTest, SigmoidScoresWeighTheChosenExperts) {
  MoeConfig moe = RandomMoe();
  moe.scores = RouterScores::kSigmoid;
  moe.top_k = 3;
  ExpectPlain(moe);
}

TEST_F(MoeFfnTest, TheSelectionBiasPicksButDoesNotWeigh) {
  MoeConfig moe = RandomMoe();
  moe.selection_bias = at::randn({kNumExperts}) * 3.0;
  ExpectPlain(moe);
}

TEST_F(MoeFfnTest, SharedExpertsAreAddedWhole) {
  MoeConfig moe = RandomMoe();
  moe.shared_experts = {RandomExpert(5), RandomExpert(14)};
  ExpectPlain(moe);
}

TEST_F(MoeFfnTest, ExpertsMayHaveNoGate) {
  MoeConfig moe = RandomMoe();
  for (DenseFfnConfig& expert : moe.experts) {
    expert.gate = {};
    expert.activation = Activation::kRelu;
  }
  const at::Tensor x = at::randn({4, kDim});
  at::Tensor want = at::zeros({4, kDim}, at::kDouble);
  for (std::int64_t i = 0; i < 4; ++i) {
    const at::Tensor token = x[i].to(at::kDouble);
    for (const Choice& choice : Choose(moe, token)) {
      const auto& expert = moe.experts[static_cast<std::size_t>(choice.expert)];
      want[i] +=
          Apply(expert.down, at::relu(Apply(expert.up, token))) * choice.weight;
    }
  }
  for (const auto& kernels : sets_) {
    ExpectClose(RunLayer(*kernels, moe, x, {4}), want);
  }
}

TEST_F(MoeFfnTest, TiesGoToTheLowestIndex) {
  MoeConfig moe = RandomMoe();
  moe.router.weight = at::zeros({kNumExperts, kDim});
  const at::Tensor x = at::randn({3, kDim});
  at::Tensor want = at::zeros({3, kDim}, at::kDouble);
  for (std::int64_t i = 0; i < 3; ++i) {
    const at::Tensor token = x[i].to(at::kDouble);
    want[i] += Expert(moe.experts[0], token) * 0.5;
    want[i] += Expert(moe.experts[1], token) * 0.5;
  }
  for (const auto& kernels : sets_) {
    ExpectClose(RunLayer(*kernels, moe, x, {3}), want);
  }
}

// 5 tokens * 2 slots / 6 experts * 0.5: at most one token a slot and expert;
// every session has this room for itself.
TEST_F(MoeFfnTest, CapacityIsCountedPerSession) {
  MoeConfig moe = RandomMoe();
  moe.capacity_factor = 0.5;
  const at::Tensor x = at::randn({10, kDim});
  const at::Tensor first = x.narrow(0, 0, 5);
  const at::Tensor second = x.narrow(0, 5, 5);
  const at::Tensor want =
      at::cat({Plain(moe, first, 1), Plain(moe, second, 1)});
  ASSERT_GT((want - Plain(moe, x, 10)).abs().max().item<double>(), 0.01)
      << "no token is over the capacity";
  for (const auto& kernels : sets_) {
    ExpectClose(RunLayer(*kernels, moe, x, {5, 5}), want);
  }
}

// Every expert takes the ceil(0.4 * 5) = 2 best tokens of each session.
TEST_F(MoeFfnTest, ExpertsMayChooseTheirTokensPerSession) {
  MoeConfig moe = RandomMoe();
  moe.choice = MoeChoice::kByExpert;
  moe.scores = RouterScores::kSigmoid;
  moe.capacity_factor = 0.4;
  moe.selection_bias = at::Tensor();
  moe.shared_experts.clear();
  const at::Tensor x = at::randn({10, kDim});
  at::Tensor want = at::zeros({10, kDim}, at::kDouble);
  const at::Tensor scores =
      at::sigmoid(at::linear(x, moe.router.weight).to(at::kDouble));
  for (const std::int64_t first : {0, 5}) {
    for (std::int64_t e = 0; e < kNumExperts; ++e) {
      const at::Tensor order =
          at::argsort(scores.narrow(0, first, 5).select(1, e), 0, true);
      for (std::int64_t i = 0; i < 2; ++i) {
        const std::int64_t row = first + order[i].item<std::int64_t>();
        want[row] += Expert(moe.experts[static_cast<std::size_t>(e)],
                            x[row].to(at::kDouble)) *
                     scores[row][e];
      }
    }
  }
  for (const auto& kernels : sets_) {
    ExpectClose(RunLayer(*kernels, moe, x, {5, 5}), want);
    ExpectClose(RunLayer(*kernels, moe, x.narrow(0, 5, 5).contiguous(), {5}),
                want.narrow(0, 5, 5));
  }
}

}  // namespace
}  // namespace stepd
