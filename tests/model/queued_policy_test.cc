// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// A policy behind a device queue: batches padded to row buckets and replayed
// from graphs answer, to the bit, what the CPU's kernels answer one by one.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "model/kernels/cpu_kernel_set.h"
#include "model/transformer_policy.h"
#include "tests/model/support/queued_kernel_set.h"
#include "tests/model/support/random_policy.h"

namespace stepd {
namespace {

constexpr std::int32_t kNumBlocks = 64;  // nine a session
constexpr std::int64_t kMaxBatchTokens = 32;
constexpr int kNumSessions = 7;
constexpr int kNumSteps = 12;

struct Session {
  std::vector<std::string> steps;
  std::vector<std::int32_t> blocks;
  std::int64_t num_tokens = 0;
  std::size_t num_steps = 0;
};

// Two policies of the same weights.
class QueuedPolicyTest : public testing::Test {
 protected:
  void Make(const RandomPolicyShape& shape, bool embeds_at_once = false) {
    tolerance_ = embeds_at_once ? 1e-4F : 0.0F;
    plain_ = Create(shape, kernels::CreateCpuKernelSet());
    queued_ = Create(shape, CreateQueuedKernelSet(&counts_, embeds_at_once));
    plain_runner_ = *plain_->CreateRunner({kNumBlocks, kMaxBatchTokens});
    queued_runner_ = *queued_->CreateRunner({kNumBlocks, kMaxBatchTokens});
    for (int i = 0; i < kNumSessions; ++i) {
      Session session;
      session.steps = MakeRandomSteps(plain_->spec().fields, kNumSteps, i);
      for (std::int32_t block = 0; block < 9; ++block) {
        session.blocks.push_back(i * 9 + block);
      }
      sessions_.push_back(std::move(session));
    }
  }

  static std::unique_ptr<Policy> Create(
      const RandomPolicyShape& shape,
      std::unique_ptr<const kernels::KernelSet> kernels) {
    return *CreateTransformerPolicy(MakeRandomPolicy(shape, 1),
                                    std::move(kernels));
  }

  // The next `count` steps of each of these sessions, all answered.
  void Add(std::size_t i, std::size_t count, StepBatch* batch) {
    Session& session = sessions_[i];
    SessionSlice slice;
    slice.num_cached_tokens = session.num_tokens;
    slice.blocks = session.blocks;
    slice.num_answered = static_cast<int>(count);
    for (std::size_t s = 0; s < count; ++s) {
      const std::string& step = session.steps[session.num_steps++];
      slice.steps.emplace_back(step);
      session.num_tokens += *plain_->CountTokens(step);
    }
    batch->slices.push_back(std::move(slice));
  }

  void ExpectSameAnswers(const StepBatch& batch) {
    StepResult want;
    StepResult got;
    ASSERT_TRUE(plain_runner_->Forward(batch, &want).ok());
    const absl::Status status = queued_runner_->Forward(batch, &got);
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(got.num_rows, want.num_rows);
    ExpectSame(got.scores, want.scores);
    ASSERT_EQ(got.outputs.size(), want.outputs.size());
    for (std::size_t i = 0; i < want.outputs.size(); ++i) {
      ExpectSame(got.outputs[i], want.outputs[i]);
    }
    EXPECT_FALSE(want.scores.empty());
  }

  void ExpectSame(const std::vector<float>& got,
                  const std::vector<float>& want) const {
    ASSERT_EQ(got.size(), want.size());
    for (std::size_t i = 0; i < want.size(); ++i) {
      ASSERT_NEAR(got[i], want[i],
                  tolerance_ * std::max(1.0F, std::abs(want[i])));
    }
  }

  // Batches of every size, after prefills of two steps; `outputs` change.
  void RunEpisodes() {
    const auto num_outputs = plain_->spec().outputs.size();
    const OutputMask all = (OutputMask{1} << num_outputs) - 1;
    StepBatch prefill;
    for (std::size_t i = 0; i < kNumSessions; ++i) Add(i, 2, &prefill);
    prefill.outputs = all;
    ExpectSameAnswers(prefill);
    for (int round = 0; round < 9; ++round) {
      StepBatch batch;
      batch.outputs = round % 3 == 2 ? all : 0;
      const auto size = static_cast<std::size_t>(1 + round % kNumSessions);
      for (std::size_t i = 0; i < size; ++i) {
        Add((i + static_cast<std::size_t>(round)) % kNumSessions, 1, &batch);
      }
      ExpectSameAnswers(batch);
    }
  }

  QueueCounts counts_;
  std::unique_ptr<Policy> plain_;
  std::unique_ptr<Policy> queued_;
  std::unique_ptr<PolicyRunner> plain_runner_;
  std::unique_ptr<PolicyRunner> queued_runner_;
  std::vector<Session> sessions_;
  float tolerance_ = 0.0F;  // 0: to the bit
};

RandomPolicyShape Uniform() {
  RandomPolicyShape shape;
  shape.num_compute_tokens = 1;
  return shape;
}

TEST_F(QueuedPolicyTest, AnswersFromGraphsWhatTheCpuAnswers) {
  Make(Uniform());
  ASSERT_EQ(plain_->spec().min_tokens_per_step,
            plain_->spec().max_tokens_per_step);
  // They are there before the first step.
  const int recorded = counts_.recorded_graphs;
  EXPECT_GT(recorded, 0);
  const int launched = counts_.launched_graphs;

  RunEpisodes();

  // Every decode step without extra outputs came from one; those with them from
  // graphs that the second batch of a shape recorded.
  EXPECT_GE(counts_.launched_graphs - launched, 6);
  EXPECT_EQ(counts_.refused_graphs, 0);
}

TEST_F(QueuedPolicyTest, NeverRecordsWhatTheHostRoutes) {
  RandomPolicyShape shape = Uniform();
  shape.ffn = {FfnKind::kMoe};
  Make(shape);

  RunEpisodes();

  EXPECT_EQ(counts_.recorded_graphs, 0);
  EXPECT_EQ(counts_.refused_graphs, 0);
}

TEST_F(QueuedPolicyTest, EmbedsAllFieldsAtOnce) {
  for (const FieldLayout layout : {FieldLayout::kSum, FieldLayout::kConcat}) {
    RandomPolicyShape shape = Uniform();
    shape.layout = layout;
    shape.tokens_per_field = 2;
    Make(shape, /*embeds_at_once=*/true);
    RunEpisodes();
    sessions_.clear();
  }
}

TEST_F(QueuedPolicyTest, LoopsInGraphs) {
  RandomPolicyShape shape = Uniform();
  shape.attention = {AttentionKind::kMla, AttentionKind::kGqa};
  shape.num_loops = 3;
  Make(shape);

  RunEpisodes();

  EXPECT_EQ(counts_.refused_graphs, 0);
  EXPECT_GT(counts_.recorded_graphs, 0);
}

TEST_F(QueuedPolicyTest, NeverRecordsWhereStepsDiffer) {
  RandomPolicyShape shape;
  shape.num_banks = 3;
  Make(shape);

  RunEpisodes();

  EXPECT_EQ(counts_.recorded_graphs, 0);
  EXPECT_EQ(counts_.refused_graphs, 0);
}

TEST_F(QueuedPolicyTest, RecordsAgainWhenMemoryHasMoved) {
  Make(Uniform());
  RunEpisodes();
  const int recorded = counts_.recorded_graphs;
  for (Session& session : sessions_) {
    session.num_steps = 0;
    session.num_tokens = 0;
  }
  // More tokens than were reserved for.
  StepBatch large;
  for (std::size_t i = 0; i < kNumSessions; ++i) Add(i, 4, &large);
  ExpectSameAnswers(large);

  for (int round = 0; round < 3; ++round) {
    StepBatch batch;
    Add(0, 1, &batch);
    ExpectSameAnswers(batch);
  }

  EXPECT_GT(counts_.recorded_graphs, recorded);
}

}  // namespace
}  // namespace stepd
