// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Policies of random weights on the GPU against the CPU: prefills, decode steps
// from graphs and ragged batches; and the deterministic mode, to the bit.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "model/kernels/cpu_kernel_set.h"
#include "model/transformer_policy.h"
#include "tests/model/support/gpu.h"
#include "tests/model/support/random_policy.h"

namespace stepd {
namespace {

constexpr int kNumSteps = 14;
#ifdef STEPD_EMULATED  // on the CPU (tests/fakes/cuda): fewer, and still ragged
constexpr std::int32_t kBlocksPerSession = 5;
constexpr int kNumSessions = 5;
constexpr std::int64_t kMaxBatchTokens = 8;
constexpr int kNumRandomShapes = 0;
#else
constexpr std::int32_t kBlocksPerSession = 12;
constexpr int kNumSessions = 20;
constexpr std::int64_t kMaxBatchTokens = 256;
constexpr int kNumRandomShapes = 8;
#endif

std::unique_ptr<const kernels::KernelSet> Gpu(const RandomPolicyShape& shape,
                                              bool is_deterministic) {
  kernels::CudaOptions options;
  options.precision = shape.precision;
  options.is_deterministic = is_deterministic;
  return kernels::CreateCudaKernelSet(options);
}

// One policy, its runner, and sessions in it.
class Side {
 public:
  Side(const RandomPolicyShape& shape,
       std::unique_ptr<const kernels::KernelSet> kernels)
      : policy_(*CreateTransformerPolicy(MakeRandomPolicy(shape, 1),
                                         std::move(kernels))),
        runner_(*policy_->CreateRunner(
            {kBlocksPerSession * kNumSessions, kMaxBatchTokens})) {
    for (int i = 0; i < kNumSessions; ++i) {
      Session session;
      session.steps = MakeRandomSteps(policy_->spec().fields, kNumSteps, i);
      session.inputs =
          MakeRandomSteps(policy_->spec().session_fields, 1, i).front();
      session.prepared = *runner_->PrepareInputs(session.inputs);
      for (std::int32_t block = 0; block < kBlocksPerSession; ++block) {
        session.blocks.push_back(block * kNumSessions + i);
      }
      sessions_.push_back(std::move(session));
    }
  }

  // The next `counts[i]` steps of session i, all of them answered.
  std::vector<float> Advance(const std::vector<std::size_t>& counts) {
    StepBatch batch;
    for (std::size_t i = 0; i < counts.size(); ++i) {
      if (counts[i] > 0) Add(counts[i], &sessions_[i], &batch);
    }
    StepResult result;
    const absl::Status status = runner_->Forward(batch, &result);
    EXPECT_TRUE(status.ok()) << status;
    return result.scores;
  }

  void Restart() {
    for (Session& session : sessions_) session.next = session.num_tokens = 0;
  }

  std::int64_t num_actions() const { return policy_->spec().num_actions; }

 private:
  struct Session {
    std::vector<std::string> steps;
    std::string inputs;
    std::shared_ptr<const PreparedInputs> prepared;
    std::vector<std::int32_t> blocks;
    std::int64_t num_tokens = 0;
    std::int64_t next = 0;
  };

  void Add(std::size_t count, Session* session, StepBatch* batch) {
    SessionSlice slice;
    slice.session_inputs = session->inputs;
    slice.prepared_inputs = session->prepared.get();
    slice.num_cached_tokens = session->num_tokens;
    slice.blocks = session->blocks;
    slice.num_answered = static_cast<int>(count);
    if (session->num_tokens == 0) {
      session->num_tokens = policy_->spec().num_prefix_tokens;
    }
    for (std::size_t s = 0; s < count; ++s) {
      const std::string& step =
          session->steps[static_cast<std::size_t>(session->next++)];
      slice.steps.emplace_back(step);
      session->num_tokens += *policy_->CountTokens(step);
    }
    batch->slices.push_back(std::move(slice));
  }

  std::unique_ptr<Policy> policy_;
  std::unique_ptr<PolicyRunner> runner_;
  std::vector<Session> sessions_;
};

std::vector<RandomPolicyShape> Shapes() {
  std::vector<RandomPolicyShape> shapes(10);
  shapes[0].name = "gqa";
  shapes[1].name = "compute_tokens_qk_norm_bias";
  shapes[1].num_compute_tokens = 3;
  shapes[1].has_qk_norm = true;
  shapes[1].has_bias = true;
  shapes[2].name = "window_odd_sizes";
  shapes[2].window_left = 6;
  shapes[2].hidden_dim = 21;
  shapes[2].num_heads = 3;
  shapes[2].num_kv_heads = 3;
  shapes[2].head_dim = 10;
  shapes[2].ffn_dim = 37;
  shapes[3].name = "mla";
  shapes[3].attention = {AttentionKind::kMla};
  shapes[4].name = "moe";
  shapes[4].ffn = {FfnKind::kMoe};
  shapes[5].name = "banks";
  shapes[5].num_banks = 3;
  shapes[6].name = "looped_mla_moe";
  shapes[6].attention = {AttentionKind::kMla, AttentionKind::kGqa};
  shapes[6].ffn = {FfnKind::kMoe, FfnKind::kDense};
  shapes[6].num_loops = 4;
  shapes[7].name = "prefix_and_cross_attention";
  shapes[7].has_prefix = true;
  shapes[7].attention = {AttentionKind::kCross, AttentionKind::kGqa};
  shapes[8].name = "condition_and_banks";
  shapes[8].num_banks = 3;
  shapes[8].condition_dim = 4;
  shapes[9].name = "wide_heads";
  shapes[9].hidden_dim = 64;
  shapes[9].num_heads = 6;
  shapes[9].head_dim = 128;
  shapes[9].num_compute_tokens = 1;
  for (int seed = 0; seed < kNumRandomShapes; ++seed) {
    shapes.push_back(MakeRandomShape(seed));
  }
  return shapes;
}

class CudaPolicyTest : public testing::TestWithParam<RandomPolicyShape> {
 protected:
  void SetUp() override { STEPD_REQUIRE_GPU(); }
};

INSTANTIATE_TEST_SUITE_P(Shapes, CudaPolicyTest, testing::ValuesIn(Shapes()),
                         [](const auto& info) { return info.param.name; });

// A prefill of all, decode steps of 1, 2, ... sessions, ragged batches.
std::vector<std::vector<std::size_t>> Batches() {
  std::vector<std::vector<std::size_t>> batches = {
      std::vector<std::size_t>(kNumSessions, 3)};
  for (std::size_t size : {1U, 2U, 3U, 5U, 8U, 13U, 20U}) {
    if (size > kNumSessions) break;
    batches.emplace_back(kNumSessions, 0U);
    for (std::size_t i = 0; i < size; ++i) {
      batches.back()[(i + size) % kNumSessions] = 1;
    }
  }
  batches.emplace_back(kNumSessions, 0U);
  for (std::size_t i = 0; i < kNumSessions; ++i) batches.back()[i] = i % 3;
  return batches;
}

TEST_P(CudaPolicyTest, AnswersWhatTheCpuAnswers) {
  Side cpu(GetParam(), kernels::CreateCpuKernelSet());
  for (const bool is_deterministic : {false, true}) {
    Side gpu(GetParam(), Gpu(GetParam(), is_deterministic));
    for (int round = 0; round < 2; ++round) {  // graphs are there the second
      cpu.Restart();
      gpu.Restart();
      for (const std::vector<std::size_t>& counts : Batches()) {
        const std::vector<float> want = cpu.Advance(counts);
        const std::vector<float> got = gpu.Advance(counts);

        ASSERT_EQ(got.size(), want.size());
        for (std::size_t i = 0; i < want.size(); ++i) {
          ASSERT_NEAR(got[i], want[i],
                      1e-3F * std::max(1.0F, std::abs(want[i])))
              << "value " << i;
        }
      }
    }
  }
}

TEST_P(CudaPolicyTest, KeepsASessionsBitsInAnyBatchWhenDeterministic) {
  Side alone(GetParam(), Gpu(GetParam(), /*is_deterministic=*/true));
  Side together(GetParam(), Gpu(GetParam(), /*is_deterministic=*/true));
  const auto actions = static_cast<std::size_t>(alone.num_actions());
  for (int step = 0; step < 6; ++step) {
    const std::vector<float> all =
        together.Advance(std::vector<std::size_t>(kNumSessions, 1));
    ASSERT_EQ(all.size(), kNumSessions * actions);
    for (std::size_t i = 0; i < kNumSessions; ++i) {
      std::vector<std::size_t> only(kNumSessions, 0);
      only[i] = 1;
      const std::vector<float> one = alone.Advance(only);

      const auto row = all.begin() + static_cast<std::ptrdiff_t>(i * actions);
      ASSERT_EQ(one, std::vector<float>(
                         row, row + static_cast<std::ptrdiff_t>(actions)))
          << "session " << i << ", step " << step;
    }
  }
}

TEST_P(CudaPolicyTest, AgreesMostlyInBFloat16) {
  RandomPolicyShape shape = GetParam();
  Side cpu(shape, kernels::CreateCpuKernelSet());
  shape.precision = WeightPrecision::kBFloat16;
  Side gpu(shape, Gpu(shape, /*is_deterministic=*/false));
  int agreeing = 0;
  int total = 0;
  const auto actions = cpu.num_actions();
  for (const std::vector<std::size_t>& counts : Batches()) {
    const std::vector<float> want = cpu.Advance(counts);
    const std::vector<float> got = gpu.Advance(counts);
    ASSERT_EQ(got.size(), want.size());
    for (auto row = std::ptrdiff_t{0};
         row < static_cast<std::ptrdiff_t>(want.size()); row += actions) {
      const auto best = [&](const std::vector<float>& scores) {
        const auto first = scores.begin() + row;
        return std::max_element(first, first + actions) - first;
      };
      agreeing += best(want) == best(got) ? 1 : 0;
      ++total;
    }
  }
  // Weights are random and scores lie close together; what is reported counts.
  RecordProperty("agreeing_actions", agreeing);
  RecordProperty("actions", total);
  std::printf("bfloat16: %d of %d greedy actions agree\n", agreeing, total);
  EXPECT_GT(agreeing, total * 7 / 10);
}

}  // namespace
}  // namespace stepd
