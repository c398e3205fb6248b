// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Banks: every row gets the bits that its own bank alone would give it.

#include "model/layers/banked_ffn.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <variant>
#include <vector>

#include "ATen/Functions.h"
#include "ATen/TensorOperators.h"
#include "gtest/gtest.h"
#include "model/kernels/cpu_kernel_set.h"
#include "model/layers/dense_ffn.h"

namespace stepd {
namespace {

constexpr std::int64_t kDim = 6;
constexpr std::int64_t kWidth = 10;
constexpr int kNumBanks = 3;

DenseFfnConfig RandomFfn() {
  DenseFfnConfig ffn;
  ffn.activation = Activation::kGelu;
  ffn.up = {at::randn({kWidth, kDim}), at::randn({kWidth})};
  ffn.down = {at::randn({kDim, kWidth}), at::randn({kDim})};
  return ffn;
}

class BankedFfnTest : public testing::Test {
 protected:
  BankedFfnTest() {
    at::manual_seed(1);
    for (int i = 0; i < kNumBanks; ++i) config_.banks.push_back(RandomFfn());
  }

  // What the block adds to rows of zeros, whose banks are given.
  at::Tensor Run(const at::Tensor& x, const std::vector<std::int32_t>& banks) {
    const auto rows = static_cast<std::int64_t>(banks.size());
    kernels::BatchLayout layout;
    layout.positions.resize(banks.size());
    layout.banks.Assign(banks, kNumBanks);
    const BankedFfn ffn(config_, *kernels_);
    Scratch scratch(at::kCPU);
    scratch.Reserve(ffn.ScratchSize(rows));
    at::Tensor y = at::zeros({rows, kDim});
    ffn.AddTo(*kernels_, layout, x.const_data_ptr<float>(), &scratch,
              y.data_ptr<float>());
    return y;
  }

  // One row, through the dense block of its bank.
  at::Tensor RunAlone(const at::Tensor& row, std::int32_t bank) {
    const DenseFfn ffn(
        std::get<DenseFfnConfig>(config_.banks[static_cast<std::size_t>(bank)]),
        *kernels_);
    Scratch scratch(at::kCPU);
    scratch.Reserve(ffn.ScratchSize(1));
    at::Tensor y = at::zeros({kDim});
    ffn.AddTo(*kernels_, row.const_data_ptr<float>(), 1, &scratch,
              y.data_ptr<float>());
    return y;
  }

  std::unique_ptr<const kernels::KernelSet> kernels_ =
      kernels::CreateCpuKernelSet();
  BankedFfnConfig config_;
};

TEST_F(BankedFfnTest, EveryRowMeetsTheWeightsOfItsBank) {
  const std::vector<std::vector<std::int32_t>> all = {
      {2, 0, 1, 0, 2, 2, 1},  // mixed
      {0, 0, 1, 1, 1, 2, 2},  // sorted already
      {1, 1, 1, 1, 1, 1, 1},  // one bank
      {2, 2, 2, 0, 0, 0, 0},  // a bank without rows
  };
  const at::Tensor x = at::randn({7, kDim});
  for (const std::vector<std::int32_t>& banks : all) {
    const at::Tensor y = Run(x, banks);

    for (std::int64_t i = 0; i < 7; ++i) {
      const at::Tensor want =
          RunAlone(x[i], banks[static_cast<std::size_t>(i)]);
      EXPECT_TRUE(at::equal(y[i], want)) << "row " << i;
    }
  }
}

}  // namespace
}  // namespace stepd
