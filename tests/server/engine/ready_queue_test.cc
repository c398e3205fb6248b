// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/ready_queue.h"

#include <chrono>
#include <deque>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace stepd {
namespace {

using std::chrono::milliseconds;

constexpr MonotonicTime kNow = MonotonicTime(std::chrono::hours(1));

class ReadyQueueTest : public testing::Test {
 protected:
  Work* NewWork(int num_steps, MonotonicTime submitted = kNow,
                MonotonicTime deadline = kInfiniteFuture) {
    sessions_.emplace_back(absl::StrCat(sessions_.size()), SessionShape{1});
    works_.emplace_back();
    Work* work = &works_.back();
    StepTask task;
    for (int i = 0; i < num_steps; ++i) task.steps.Append("x");
    task.deadline = deadline;
    work->task = std::move(task);
    work->session = &sessions_.back();
    work->num_ready_tokens = num_steps;
    work->is_single = num_steps == 1;
    work->submitted = submitted;
    return work;
  }
  // With a wait of five milliseconds.
  FireTime Fire(std::int64_t num_recent_idle) {
    FireConditions conditions;
    conditions.now = kNow;
    conditions.wait_until = kNow + milliseconds(5);
    conditions.num_recent_idle = num_recent_idle;
    conditions.expected_batch = milliseconds(1);
    return queue_.NextFire(conditions);
  }

  static FireOptions Options() {
    FireOptions options;
    options.max_batch_sessions = 4;
    options.max_batch_tokens = 10;
    return options;
  }

  std::deque<Session> sessions_;
  std::deque<Work> works_;
  ReadyQueue queue_{Options()};
};

TEST_F(ReadyQueueTest, KeepsSingleStepsAndLongWorkApart) {
  Work* single = NewWork(1);
  Work* several = NewWork(2);
  Work* rebuild = NewWork(1);
  rebuild->is_single = false;
  for (Work* work : {single, several, rebuild}) queue_.Push(work);

  EXPECT_EQ(queue_.singles().front(), single);
  EXPECT_EQ(queue_.singles().back(), single);
  EXPECT_EQ(queue_.longs().front(), several);
  EXPECT_EQ(queue_.longs().back(), rebuild);
  EXPECT_EQ(queue_.size(), 3);
}

TEST_F(ReadyQueueTest, NeverFiresWhenEmpty) {
  EXPECT_EQ(Fire(0).at, kInfiniteFuture);
  Work* work = NewWork(1);
  queue_.Push(work);
  queue_.Remove(work);
  EXPECT_EQ(Fire(0).at, kInfiniteFuture);
}

TEST_F(ReadyQueueTest, FiresWhenNobodyElseIsExpected) {
  queue_.Push(NewWork(1));

  EXPECT_EQ(Fire(0).reason, FireReason::kAllArrived);
  EXPECT_EQ(Fire(0).at, kNow);
}

TEST_F(ReadyQueueTest, FiresWhenTheSessionsOrTheTokensFillABatch) {
  queue_.Push(NewWork(9));
  EXPECT_EQ(Fire(1).reason, FireReason::kWaited);
  Work* work = NewWork(1);
  queue_.Push(work);
  EXPECT_EQ(Fire(1).reason, FireReason::kFull);

  queue_.Remove(work);
  EXPECT_EQ(Fire(1).reason, FireReason::kWaited);
}

TEST_F(ReadyQueueTest, FiresAtOnceWhenThereIsNothingToWaitFor) {
  queue_.Push(NewWork(1));
  FireConditions conditions;
  conditions.now = kNow;

  EXPECT_EQ(queue_.NextFire(conditions).at, kNow);
  EXPECT_EQ(queue_.NextFire(conditions).reason, FireReason::kIdle);
}

TEST_F(ReadyQueueTest, WaitsAsLongAsItIsTold) {
  queue_.Push(NewWork(1));

  EXPECT_EQ(Fire(1).at, kNow + milliseconds(5));
  EXPECT_EQ(Fire(1).reason, FireReason::kWaited);
}

TEST_F(ReadyQueueTest, SaysHowManyTasksCouldMakeItFireEarlier) {
  queue_.Push(NewWork(1));
  EXPECT_EQ(Fire(2).num_missing, 2);
  EXPECT_EQ(Fire(20).num_missing, 3);  // four sessions fill a batch
}

TEST_F(ReadyQueueTest, KnowsTheOldestTaskThatIsLeft) {
  EXPECT_EQ(queue_.OldestSubmitted(), kInfiniteFuture);
  queue_.Push(NewWork(1, kNow));
  Work* oldest = NewWork(1, kNow - milliseconds(3));
  queue_.Push(oldest);
  EXPECT_EQ(queue_.OldestSubmitted(), kNow - milliseconds(3));

  queue_.Remove(oldest);
  EXPECT_EQ(queue_.OldestSubmitted(), kNow);
}

TEST_F(ReadyQueueTest, LeavesTheEarliestDeadlineTheTimeOfABatch) {
  queue_.Push(NewWork(1));
  Work* urgent = NewWork(1, kNow, kNow + milliseconds(4));
  queue_.Push(urgent);
  EXPECT_EQ(Fire(1).at, kNow + milliseconds(3));
  EXPECT_EQ(Fire(1).reason, FireReason::kDeadline);

  queue_.Remove(urgent);
  EXPECT_EQ(Fire(1).reason, FireReason::kWaited);
}

}  // namespace
}  // namespace stepd
