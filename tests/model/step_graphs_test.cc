// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/step_graphs.h"

#include <cstdint>
#include <memory>

#include "gtest/gtest.h"

namespace stepd {
namespace {

TEST(FindBucket, IsThePowerOfTwoThatHoldsThem) {
  EXPECT_EQ(FindBucket(1, 100), 1);
  EXPECT_EQ(FindBucket(2, 100), 2);
  EXPECT_EQ(FindBucket(3, 100), 4);
  EXPECT_EQ(FindBucket(64, 100), 64);
  EXPECT_EQ(FindBucket(65, 100), 100);
  EXPECT_EQ(FindBucket(100, 100), 100);
}

TEST(NextSmallerBucket, GoesThroughAllBuckets) {
  for (std::int64_t most : {1, 2, 24, 256, 300}) {
    std::int64_t buckets = 0;
    for (std::int64_t b = most; b > 0; b = NextSmallerBucket(b)) {
      EXPECT_EQ(FindBucket(b, most), b);
      ++buckets;
    }
    std::int64_t expected = 1;
    for (std::int64_t b = 1; b < most; b *= 2) ++expected;
    EXPECT_EQ(buckets, expected) << most;
  }
}

class FakeQueue : public kernels::DeviceQueue {
 public:
  void Reserve(std::int64_t /*rows*/, std::int64_t /*num_blocks*/) override {}
  void Use() override {}
  std::unique_ptr<Graph> Record(absl::FunctionRef<void()> work) override {
    ++num_recorded;
    if (!is_recordable) return nullptr;
    work();
    return std::make_unique<Graph>();
  }
  void Launch(const Graph& /*graph*/,
              absl::Span<float* const> /*hosts*/) override {
    ++num_launched;
  }
  std::int64_t generation() const override { return moves; }

  bool is_recordable = true;
  std::int64_t moves = 0;
  int num_recorded = 0;
  int num_launched = 0;
};

class StepGraphsTest : public testing::Test {
 protected:
  void Run(StepGraphs* graphs, std::int64_t slices, OutputMask outputs = 0) {
    graphs->Run({slices, 128, outputs, nullptr}, [&] { ++num_run_; }, {});
  }

  FakeQueue queue_;
  int num_run_ = 0;
};

TEST_F(StepGraphsTest, RunsThenRecordsThenLaunchesEachShape) {
  StepGraphs graphs(&queue_);

  Run(&graphs, 1);
  EXPECT_EQ(queue_.num_recorded, 0);
  Run(&graphs, 1);
  EXPECT_EQ(queue_.num_recorded, 1);
  EXPECT_EQ(queue_.num_launched, 1);
  Run(&graphs, 1);
  Run(&graphs, 2);

  EXPECT_EQ(num_run_, 3);  // as it was twice, and while it was recorded
  EXPECT_EQ(queue_.num_launched, 2);
  EXPECT_EQ(graphs.num_graphs(), 1U);

  Run(&graphs, 1, /*outputs=*/2);
  EXPECT_EQ(queue_.num_launched, 2);
}

TEST_F(StepGraphsTest, ForgetsGraphsOfMemoryThatHasMoved) {
  StepGraphs graphs(&queue_);
  Run(&graphs, 1);
  Run(&graphs, 1);
  ++queue_.moves;

  Run(&graphs, 1);

  EXPECT_EQ(queue_.num_launched, 1);
  EXPECT_EQ(graphs.num_graphs(), 0U);
  Run(&graphs, 1);
  EXPECT_EQ(queue_.num_recorded, 2);
  EXPECT_EQ(queue_.num_launched, 2);
}

TEST_F(StepGraphsTest, TriesOnceToRecordWhatCannotBe) {
  queue_.is_recordable = false;
  StepGraphs graphs(&queue_);

  for (int i = 0; i < 4; ++i) Run(&graphs, 1);
  for (int i = 0; i < 4; ++i) Run(&graphs, 2);

  EXPECT_EQ(num_run_, 8);
  EXPECT_EQ(queue_.num_recorded, 1);
  EXPECT_EQ(queue_.num_launched, 0);
}

TEST_F(StepGraphsTest, RunsEverythingAsItIsWithoutAQueue) {
  StepGraphs graphs(nullptr);

  for (int i = 0; i < 3; ++i) Run(&graphs, 1);

  EXPECT_EQ(num_run_, 3);
}

}  // namespace
}  // namespace stepd
