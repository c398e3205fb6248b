// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/trajectory_buffer.h"

#include <chrono>
#include <cstdint>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace stepd {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr StepBounds kAll = {1000, 1 << 20};

// Steps of one actor with these indices.
std::vector<FinishedStep> Steps(const std::vector<std::uint64_t>& indices) {
  std::vector<FinishedStep> steps;
  for (const std::uint64_t index : indices) {
    FinishedStep step;
    step.actor_id = "actor";
    step.step_index = index;
    steps.push_back(std::move(step));
  }
  return steps;
}

std::vector<std::uint64_t> IndicesOf(const TrajectoryBuffer::Portion& portion) {
  std::vector<std::uint64_t> indices;
  for (const auto& step : portion.steps) indices.push_back(step->step_index);
  return indices;
}

TEST(TrajectoryBuffer, HoldsNothingUntilItIsOpened) {
  TrajectoryBuffer buffer(kAll);
  EXPECT_FALSE(buffer.is_open());
  buffer.Take(Steps({0, 1}));

  EXPECT_EQ(buffer.Open().sequence, 0U);
  EXPECT_TRUE(buffer.is_open());
  buffer.Take(Steps({2}));

  EXPECT_THAT(IndicesOf(buffer.Read(0, kAll)), ElementsAre(2));
}

TEST(TrajectoryBuffer, EveryReaderReadsEveryStepInOrder) {
  TrajectoryBuffer buffer(kAll);
  buffer.Open();
  buffer.Take(Steps({10, 11}));
  const auto first = buffer.Read(0, kAll);
  buffer.Take(Steps({12}));
  const auto second = buffer.Read(first.last, kAll);

  EXPECT_THAT(IndicesOf(first), ElementsAre(10, 11));
  EXPECT_EQ(first.last, 2U);
  EXPECT_THAT(IndicesOf(second), ElementsAre(12));
  EXPECT_EQ(second.last, 3U);
  EXPECT_THAT(IndicesOf(buffer.Read(3, kAll)), IsEmpty());
  EXPECT_THAT(IndicesOf(buffer.Read(1, kAll)), ElementsAre(11, 12));
}

TEST(TrajectoryBuffer, AMessageIsBounded) {
  TrajectoryBuffer buffer(kAll);
  buffer.Open();
  buffer.Take(Steps({0, 1, 2, 3}));
  const auto bytes = static_cast<std::int64_t>(Steps({0}).front().num_bytes());

  EXPECT_THAT(IndicesOf(buffer.Read(0, {3, 1 << 20})), ElementsAre(0, 1, 2));
  EXPECT_THAT(IndicesOf(buffer.Read(1, {9, 2 * bytes})), ElementsAre(1, 2));
  EXPECT_THAT(IndicesOf(buffer.Read(1, {9, 1})), ElementsAre(1));
}

TEST(TrajectoryBuffer, WhatASlowReaderMissedIsCounted) {
  TrajectoryBuffer buffer({3, 1 << 20});
  buffer.Open();
  buffer.Take(Steps({0, 1}));
  buffer.Take(Steps({2, 3, 4, 5}));

  const auto slow = buffer.Read(0, kAll);
  EXPECT_EQ(slow.num_dropped, 3U);
  EXPECT_THAT(IndicesOf(slow), ElementsAre(3, 4, 5));
  EXPECT_EQ(slow.last, 6U);
  const auto quick = buffer.Read(4, kAll);
  EXPECT_EQ(quick.num_dropped, 0U);
  EXPECT_THAT(IndicesOf(quick), ElementsAre(4, 5));
}

TEST(TrajectoryBuffer, BytesBoundItTooButOneStepAlwaysFits) {
  FinishedStep large;
  large.step_index = 7;
  large.inputs = std::string(1000, 'x');
  TrajectoryBuffer buffer({100, 500});
  buffer.Open();
  buffer.Take(Steps({0, 1}));
  buffer.Take({large});

  const auto portion = buffer.Read(0, kAll);
  EXPECT_EQ(portion.num_dropped, 2U);
  EXPECT_THAT(IndicesOf(portion), ElementsAre(7));
}

TEST(TrajectoryBuffer, AStreamThatEndedIsNotTheNextOne) {
  TrajectoryBuffer buffer(kAll);
  const auto first = buffer.Open();
  EXPECT_EQ(buffer.Open().stream_id, first.stream_id);
  buffer.Take(Steps({0}));
  buffer.Close();
  EXPECT_FALSE(buffer.is_open());

  const auto second = buffer.Open();
  EXPECT_NE(second.stream_id, first.stream_id);
  EXPECT_EQ(second.sequence, 0U);
  EXPECT_THAT(IndicesOf(buffer.Read(0, kAll)), IsEmpty());
}

TEST(TrajectoryBuffer, StepsThatCameBeforeOrDuringAWaitEndIt) {
  TrajectoryBuffer buffer(kAll);
  buffer.Open();
  buffer.Take(Steps({0}));
  buffer.Wait(kInfiniteFuture);

  std::thread executor([&] { buffer.Take(Steps({1})); });
  buffer.Wait(kInfiniteFuture);
  executor.join();
  EXPECT_EQ(buffer.Read(0, kAll).last, 2U);

  buffer.Wait(std::chrono::steady_clock::now());  // nothing new
}

// For the thread sanitizer: executors and readers at once.
TEST(TrajectoryBuffer, KeepsTheOrderOfEachExecutor) {
  constexpr std::uint64_t kPerThread = 2000;
  TrajectoryBuffer buffer({100, 1 << 20});
  buffer.Open();
  std::vector<std::thread> executors;
  for (const char* actor : {"a", "b"}) {
    executors.emplace_back([&buffer, actor] {
      for (std::uint64_t i = 0; i < kPerThread; ++i) {
        std::vector<FinishedStep> steps = Steps({i});
        steps.front().actor_id = actor;
        buffer.Take(std::move(steps));
      }
    });
  }
  std::uint64_t after = 0;
  std::uint64_t num_read = 0;
  std::uint64_t num_dropped = 0;
  std::uint64_t next_a = 0;
  std::uint64_t next_b = 0;
  while (after < 2 * kPerThread) {
    buffer.Wait(kInfiniteFuture);
    for (bool has_more = true; has_more;) {
      const auto portion = buffer.Read(after, {16, 1 << 20});
      for (const auto& step : portion.steps) {
        std::uint64_t& next = step->actor_id == "a" ? next_a : next_b;
        EXPECT_GE(step->step_index, next);
        next = step->step_index + 1;
      }
      num_read += portion.steps.size();
      num_dropped += portion.num_dropped;
      has_more = portion.last > after;
      after = portion.last;
    }
  }
  for (std::thread& executor : executors) executor.join();
  EXPECT_EQ(num_read + num_dropped, 2 * kPerThread);
}

}  // namespace
}  // namespace stepd
