// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Once it is warm, a forward of stepd's own kernels takes no memory from the
// system and calls none of LibTorch's operators.

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "ATen/record_function.h"
#include "gtest/gtest.h"
#include "model/kernels/cpu_kernel_set.h"
#include "model/transformer_policy.h"
#include "tests/model/support/random_policy.h"

namespace {

thread_local bool is_counting = false;
thread_local std::int64_t num_allocations = 0;
std::atomic<std::int64_t> num_operators{0};

void* Allocate(std::size_t bytes, std::size_t alignment) {
  if (is_counting) ++num_allocations;
  const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  void* memory = std::aligned_alloc(alignment, rounded);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

// Those of the whole program; arrays and the nothrow forms come here too.
void* operator new(std::size_t bytes) { return Allocate(bytes, 16); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return Allocate(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}

namespace stepd {
namespace {

constexpr int kNumSessions = 4;
constexpr int kNumSteps = 12;
constexpr std::int32_t kBlocksEach = 8;

std::vector<RandomPolicyShape> Shapes() {
  std::vector<RandomPolicyShape> shapes(8);
  shapes[0].name = "gqa";
  shapes[1].name = "concat";
  shapes[1].layout = FieldLayout::kConcat;
  shapes[2].name = "mla";
  shapes[2].attention = {AttentionKind::kMla};
  shapes[3].name = "moe";
  shapes[3].ffn = {FfnKind::kMoe};
  shapes[4].name = "loop";
  shapes[4].num_loops = 3;
  shapes[5].name = "window_bias_qk_norm";
  shapes[5].window_left = 3;
  shapes[5].has_bias = shapes[5].has_qk_norm = true;
  shapes[6].name = "bfloat16";
  shapes[6].precision = WeightPrecision::kBFloat16;
  shapes[7].name = "banks";
  shapes[7].num_banks = 3;
  shapes[7].has_banked_norms = true;
  return shapes;
}

class SteadyStateTest : public testing::TestWithParam<RandomPolicyShape> {
 protected:
  void SetUp() override {
    at::addGlobalCallback(
        at::RecordFunctionCallback([](const at::RecordFunction&)
                                       -> std::unique_ptr<at::ObserverContext> {
          if (is_counting) ++num_operators;
          return nullptr;
        }).scopes({at::RecordScope::FUNCTION}));
    auto policy = CreateTransformerPolicy(
        MakeRandomPolicy(GetParam(), 1),
        kernels::CreateCpuKernelSet(GetParam().precision));
    ASSERT_TRUE(policy.ok()) << policy.status();
    policy_ = *std::move(policy);
    auto runner = policy_->CreateRunner({kNumSessions * kBlocksEach, 64});
    ASSERT_TRUE(runner.ok()) << runner.status();
    runner_ = *std::move(runner);
  }
  void TearDown() override { at::clearCallbacks(); }

  // Step `i` of every session, as one batch.
  StepBatch BatchOf(int i) {
    StepBatch batch;
    for (int s = 0; s < kNumSessions; ++s) {
      SessionSlice slice;
      slice.steps = {steps_[std::size_t(s)][std::size_t(i)]};
      slice.num_cached_tokens = cached_[std::size_t(s)];
      slice.blocks = blocks_[std::size_t(s)];
      slice.num_answered = 1;
      slice.is_final = i + 1 == kNumSteps;
      cached_[std::size_t(s)] += *policy_->CountTokens(slice.steps.front());
      batch.slices.push_back(std::move(slice));
    }
    return batch;
  }

  std::unique_ptr<Policy> policy_;
  std::unique_ptr<PolicyRunner> runner_;
  std::array<std::vector<std::string>, kNumSessions> steps_;
  std::array<std::vector<std::int32_t>, kNumSessions> blocks_;
  std::array<std::int64_t, kNumSessions> cached_{};
};

TEST_P(SteadyStateTest, AStepTakesNoMemoryAndNoOperator) {
  for (int s = 0; s < kNumSessions; ++s) {
    steps_[std::size_t(s)] =
        MakeRandomSteps(policy_->spec().fields, kNumSteps, 10 + s);
    for (std::int32_t b = 0; b < kBlocksEach; ++b) {
      blocks_[std::size_t(s)].push_back(s * kBlocksEach + b);
    }
  }
  StepResult result;
  for (const bool is_warm : {false, true}) {
    cached_.fill(0);
    for (int i = 0; i < kNumSteps; ++i) {
      const StepBatch batch = BatchOf(i);
      is_counting = is_warm;
      const absl::Status status = runner_->Forward(batch, &result);
      is_counting = false;
      ASSERT_TRUE(status.ok()) << status;
      ASSERT_EQ(result.num_rows, kNumSessions);
    }
  }

  EXPECT_EQ(std::exchange(num_allocations, 0), 0);
  EXPECT_EQ(num_operators.exchange(0), 0);
}

INSTANTIATE_TEST_SUITE_P(Shapes, SteadyStateTest, testing::ValuesIn(Shapes()),
                         [](const auto& shape) { return shape.param.name; });

}  // namespace
}  // namespace stepd
