// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// When a looped stage may stop before its last loop.

#include "model/decoder/decoder.h"

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "ATen/Functions.h"
#include "gtest/gtest.h"
#include "model/kernels/cpu_kernel_set.h"
#include "model/kernels/cpu_kernels.h"
#include "model/kv_cache/kv_cache.h"
#include "tests/model/support/random_policy.h"

namespace stepd {
namespace {

constexpr std::int64_t kNumTokens = 5;
constexpr int kNumLoops = 4;
constexpr float kUnwritten = 1234.5F;
// One slot before the loops and one after them.
constexpr int kFirstLoop = 1;
constexpr int kLastLoop = kNumLoops;

class LoopedDecoderTest : public testing::Test {
 protected:
  LoopedDecoderTest() {
    RandomPolicyShape shape;
    shape.num_layers = 1;
    shape.num_loops = kNumLoops;
    config_ = MakeRandomPolicy(shape, 3).decoder;
    x_ = at::randn({kNumTokens, config_.hidden_dim});
    for (std::int32_t t = 0; t < kNumTokens; ++t) {
      layout_.positions.push_back(t);
      layout_.token_blocks.push_back(0);
      layout_.token_offsets.push_back(t);
    }
    layout_.query_indptr = {0, kNumTokens};
    layout_.block_indptr = {0, 1};
    layout_.block_indices = {0};
    layout_.kv_lens = {kNumTokens};
  }

  // Halting probabilities of nearly 1, or of nearly 0, for every token.
  void HaltAtOnce() { SetHaltBias(20.0F); }
  void NeverHalt() { SetHaltBias(-20.0F); }

  // The rows after all stages. The first number of every KV slot is then in
  // first_keys_: kUnwritten if nobody wrote it.
  at::Tensor Run(bool is_final) {
    const Decoder decoder(config_, *kernels_, kernels::kCpuTokensPerBlock);
    DecoderState state{*KvCache::Create(decoder.kv_slots(),
                                        kernels::kCpuTokensPerBlock, at::kCPU),
                       decoder.MakeRopeCaches()};
    const auto num_slots = static_cast<int>(decoder.kv_slots().size());
    for (int i = 0; i < num_slots; ++i)
      *static_cast<float*>(state.cache.slot(i).k) = kUnwritten;
    Scratch scratch(at::kCPU);
    scratch.Reserve(decoder.ScratchSize(kNumTokens));
    at::Tensor rows = x_.clone();
    layout_.is_final = is_final;
    decoder.Forward({layout_, {}, {}}, &state, &scratch,
                    rows.data_ptr<float>());
    first_keys_.clear();
    for (int i = 0; i < num_slots; ++i) {
      first_keys_.push_back(*static_cast<float*>(state.cache.slot(i).k));
    }
    return rows;
  }

  bool IsWritten(int slot) const {
    return first_keys_[static_cast<std::size_t>(slot)] != kUnwritten;
  }

 private:
  void SetHaltBias(float bias) {
    config_.stages[1].loop->halt.bias = at::full({1}, bias);
  }

  std::unique_ptr<const kernels::KernelSet> kernels_ =
      kernels::CreateCpuKernelSet();
  DecoderConfig config_;
  kernels::BatchLayout layout_;
  at::Tensor x_;
  std::vector<float> first_keys_;
};

TEST_F(LoopedDecoderTest, StopsWhenAllHaveHaltedAndNobodyReadsTheCache) {
  HaltAtOnce();

  const at::Tensor kept = Run(/*is_final=*/false);
  EXPECT_TRUE(IsWritten(kLastLoop));
  const at::Tensor final = Run(/*is_final=*/true);

  EXPECT_TRUE(at::equal(final, kept));
  EXPECT_TRUE(IsWritten(kFirstLoop));
  EXPECT_FALSE(IsWritten(kFirstLoop + 1));
  EXPECT_FALSE(IsWritten(kLastLoop));
  EXPECT_TRUE(IsWritten(kLastLoop + 1));
}

TEST_F(LoopedDecoderTest, GoesOnWhileATokenHasNotHalted) {
  NeverHalt();

  const at::Tensor kept = Run(/*is_final=*/false);
  const at::Tensor final = Run(/*is_final=*/true);

  EXPECT_TRUE(at::equal(final, kept));
  EXPECT_TRUE(IsWritten(kLastLoop));
}

}  // namespace
}  // namespace stepd
