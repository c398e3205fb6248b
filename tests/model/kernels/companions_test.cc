// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/kernels/companions.h"

#include <atomic>
#include <cstdint>
#include <random>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/kernels/cpu_kernels.h"

namespace stepd::kernels {
namespace {

using ::testing::ElementsAreArray;
using Floats = std::vector<float>;

constexpr std::int64_t kIn = 256;
constexpr std::int64_t kOut = 500;  // the last panel is not whole

Floats Random(std::int64_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  Floats values(static_cast<std::size_t>(count));
  for (float& value : values) value = normal(generator);
  return values;
}

// What kernels of this test do on threads that are not the forward's.
struct Elsewhere {
  std::thread::id forward;
  std::atomic<int> num_calls{0};
  std::atomic<bool> is_held{false};  // they wait while it is
} elsewhere;

void Kernel(const CpuLinearArgs& args) {
  if (std::this_thread::get_id() != elsewhere.forward) {
    ++elsewhere.num_calls;
    while (elsewhere.is_held) std::this_thread::yield();
  } else {
    std::this_thread::yield();  // for the others to have a turn
  }
  BestCpuKernels().linear(args);
}

class CompanionsTest : public testing::Test {
 protected:
  CompanionsTest()
      : panel_(BestCpuKernels().panel),
        weights_(Random((kOut + panel_) * kIn, 1)),
        bias_(Random(kOut + panel_, 2)),
        x_(Random(kRows * kIn, 3)),
        before_(Random(kRows * kOut, 4)) {
    elsewhere.forward = std::this_thread::get_id();
    elsewhere.num_calls = 0;
    elsewhere.is_held = false;
  }

  CpuLinearArgs Args(Floats* y, bool is_add) const {
    CpuLinearArgs args = {};
    args.panels = weights_.data();
    args.bias = bias_.data();
    args.in_words = kIn;
    args.out_dim = kOut;
    args.x = x_.data();
    args.x_stride = kIn;
    args.rows = kRows;
    args.y = y->data();
    args.y_stride = kOut;
    args.is_add = is_add;
    return args;
  }

  Floats Alone(bool is_add) const {
    Floats y = before_;
    BestCpuKernels().linear(Args(&y, is_add));
    return y;
  }

  // Whether it was run in shares; then it must have the right bits.
  bool RunShared(Companions* companions, bool is_add = true) const {
    Floats y = before_;
    const bool is_run = companions->Run(Args(&y, is_add), Kernel);
    EXPECT_THAT(y, ElementsAreArray(is_run ? Alone(is_add) : before_));
    return is_run;
  }

  bool RunOneForward(Companions* companions) const {
    companions->Begin(kRows);
    const bool is_run = RunShared(companions);
    companions->End();
    return is_run;
  }

  static constexpr std::int64_t kRows = 5;
  const int panel_;
  const Floats weights_;
  const Floats bias_;
  const Floats x_;
  const Floats before_;
};

TEST_F(CompanionsTest, HaveTheBitsOfOneThread) {
  Companions companions(2, panel_);
  while (elsewhere.num_calls < 100) {
    companions.Begin(kRows);
    for (const bool is_add : {false, true}) RunShared(&companions, is_add);
    companions.End();
  }
}

TEST_F(CompanionsTest, AreNotWaitedForWhenTheyAreLate) {
  Companions companions(1, panel_);
  elsewhere.is_held = true;
  companions.Begin(kRows);
  while (RunShared(&companions)) {
  }
  companions.End();
  // It holds what it took: the job cannot be replaced.
  EXPECT_FALSE(RunOneForward(&companions));

  elsewhere.is_held = false;
  while (!RunOneForward(&companions)) {
  }
}

TEST_F(CompanionsTest, LeaveTheCoresToOtherForwards) {
  Companions companions(1, panel_);
  companions.Begin(kRows);
  EXPECT_TRUE(RunShared(&companions));

  std::thread([&] {
    companions.Begin(kRows);
    EXPECT_FALSE(RunShared(&companions)) << "they are with another forward";
  }).join();
  EXPECT_FALSE(RunShared(&companions)) << "two forwards are going on";

  std::thread([&] { companions.End(); }).join();
  companions.End();
  while (!RunOneForward(&companions)) {
  }
  EXPECT_FALSE(RunShared(&companions)) << "the forward is over";
}

TEST_F(CompanionsTest, LeaveWideBatchesAlone) {
  Companions companions(1, panel_);
  companions.Begin(64);
  EXPECT_FALSE(RunShared(&companions));
  companions.End();
}

TEST_F(CompanionsTest, LeaveSmallMatricesAlone) {
  Companions companions(1, panel_);
  Floats y = before_;
  CpuLinearArgs args = Args(&y, false);
  args.out_dim = panel_;
  companions.Begin(kRows);
  EXPECT_FALSE(companions.Run(args, Kernel));
  companions.End();
}

}  // namespace
}  // namespace stepd::kernels
