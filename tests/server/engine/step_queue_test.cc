// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/step_queue.h"

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "server/common/error.h"

namespace stepd {
namespace {

using std::chrono::milliseconds;

QueuedTask MakeTask(const std::string& actor) {
  QueuedTask queued;
  ResetTask reset;
  reset.actor_id = actor;
  queued.task = std::move(reset);
  return queued;
}

QueuedTask MakeStep(
    MonotonicDuration time_left,
    MonotonicTime submitted = MonotonicTime(std::chrono::hours(1))) {
  QueuedTask queued;
  queued.submitted = submitted;
  StepTask step;
  step.deadline = queued.submitted + time_left;
  queued.task = std::move(step);
  return queued;
}

std::string ActorOf(const QueuedTask& task) {
  return std::get<ResetTask>(task.task).actor_id;
}

TEST(StepQueue, HandsOutAllTasksInOrder) {
  StepQueue queue(10, 4);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(queue.TryPush(MakeTask(absl::StrCat(i))).ok());
  }

  std::vector<QueuedTask> tasks;
  EXPECT_TRUE(queue.PopAll({}, &tasks));

  ASSERT_EQ(tasks.size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(ActorOf(tasks[i]), absl::StrCat(i));
  }
}

TEST(StepQueue, DoesNotWaitWhenTimeHasPassed) {
  StepQueue queue(10, 4);
  std::vector<QueuedTask> tasks;

  EXPECT_TRUE(queue.PopAll({StepQueue::kNoWait}, &tasks));
  EXPECT_TRUE(queue.PopAll({MonotonicTime()}, &tasks));

  EXPECT_TRUE(tasks.empty());
}

TEST(StepQueue, RefusesWhenFullUntilTasksAreFinished) {
  StepQueue queue(2, 4);
  ASSERT_TRUE(queue.TryPush(MakeTask("a")).ok());
  ASSERT_TRUE(queue.TryPush(MakeTask("b")).ok());

  const absl::Status full = queue.TryPush(MakeTask("c"));
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(full), reason::kOverloaded);
  EXPECT_GT(RetryAfterOf(full), absl::ZeroDuration());

  std::vector<QueuedTask> tasks;
  queue.PopAll({}, &tasks);
  EXPECT_FALSE(queue.TryPush(MakeTask("c")).ok());  // taken is not finished
  queue.Finish(1, {});
  EXPECT_TRUE(queue.TryPush(MakeTask("c")).ok());
  EXPECT_EQ(queue.num_unfinished(), 2);
}

TEST(StepQueue, RefusesATaskThatWouldExpireInTheQueue) {
  StepQueue queue(1000, /*tasks_per_batch=*/2);
  queue.Finish(0, /*expected_batch=*/milliseconds(10));
  for (int i = 0; i < 6; ++i) {
    ASSERT_TRUE(queue.TryPush(MakeTask("x")).ok());
  }

  // Three batches are ahead: 30 ms.
  const absl::Status late = queue.TryPush(MakeStep(milliseconds(29)));
  EXPECT_EQ(late.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(late), reason::kOverloaded);
  EXPECT_EQ(RetryAfterOf(late), absl::Milliseconds(30));
  EXPECT_TRUE(queue.TryPush(MakeStep(milliseconds(31))).ok());
}

TEST(StepQueue, ARefusedTaskStaysWithTheCaller) {
  StepQueue queue(1, 4);
  ASSERT_TRUE(queue.TryPush(MakeTask("a")).ok());
  QueuedTask task = MakeTask("b");

  ASSERT_FALSE(queue.TryPush(std::move(task)).ok());

  EXPECT_EQ(ActorOf(task), "b");  // NOLINT(bugprone-use-after-move)
}

TEST(StepQueue, HandsOutWhatIsInsideWhenClosedAndRefusesMore) {
  StepQueue queue(10, 4);
  ASSERT_TRUE(queue.TryPush(MakeTask("a")).ok());
  queue.Close();

  const absl::Status refused = queue.TryPush(MakeTask("b"));
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(refused), reason::kDraining);
  EXPECT_TRUE(RetryAfterOf(refused).has_value());

  std::vector<QueuedTask> tasks;
  EXPECT_TRUE(queue.PopAll({}, &tasks));
  EXPECT_EQ(tasks.size(), 1U);
  tasks.clear();
  EXPECT_FALSE(queue.PopAll({}, &tasks));
}

TEST(StepQueue, WakesThePopperForATaskAndForTheEnd) {
  StepQueue queue(10, 4);
  std::atomic<int> num_popped{0};
  std::thread popper([&] {
    std::vector<QueuedTask> tasks;
    while (queue.PopAll({}, &tasks)) {
      num_popped += static_cast<int>(tasks.size());
      tasks.clear();
    }
  });

  ASSERT_TRUE(queue.TryPush(MakeTask("a")).ok());
  ASSERT_TRUE(queue.TryPush(MakeTask("b")).ok());
  queue.Close();
  popper.join();

  EXPECT_EQ(num_popped, 2);
}

// A task that is pushed too early to wake the popper is handed out with the
// one that does.
class SleepingPopper {
 public:
  SleepingPopper(StepQueue* queue, const StepQueue::Waiting& waiting)
      : thread_([this, queue, waiting] { queue->PopAll(waiting, &tasks_); }) {}
  ~SleepingPopper() {
    if (thread_.joinable()) thread_.join();
  }
  SleepingPopper(const SleepingPopper&) = delete;
  SleepingPopper& operator=(const SleepingPopper&) = delete;
  std::size_t Join() {
    thread_.join();
    return tasks_.size();
  }

 private:
  std::vector<QueuedTask> tasks_;
  std::thread thread_;
};

// How long the popper looks for tasks before it sleeps changes nothing else:
// not at all, less than it waits, more than it waits.
class PopperTest : public testing::TestWithParam<MonotonicDuration> {
 protected:
  MonotonicDuration spin() const { return GetParam(); }
};

INSTANTIATE_TEST_SUITE_P(Spins, PopperTest,
                         testing::Values(MonotonicDuration::zero(),
                                         std::chrono::microseconds(1),
                                         std::chrono::hours(1)));

TEST_P(PopperTest, EndsWhenTheQueueIsClosed) {
  StepQueue queue(10, 4, spin());
  queue.Finish(0, spin());
  SleepingPopper popper(&queue, {kInfiniteFuture, 1});
  while (!queue.has_sleeper()) std::this_thread::yield();

  queue.Close();

  EXPECT_EQ(popper.Join(), 0U);
}

TEST_P(PopperTest, LetsThePopperSleepUntilEnoughTasksAreQueued) {
  StepQueue queue(10, 4, spin());
  queue.Finish(0, spin());
  SleepingPopper popper(&queue, {kInfiniteFuture, 3});
  while (!queue.has_sleeper()) std::this_thread::yield();

  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(queue.has_sleeper());
    ASSERT_TRUE(queue.TryPush(MakeTask("a")).ok());
  }

  EXPECT_EQ(popper.Join(), 3U);
}

TEST_P(PopperTest, WakesThePopperForATaskThatCannotWaitForMore) {
  StepQueue queue(10, 4, spin());
  queue.Finish(0, spin());
  const MonotonicTime until =
      std::chrono::steady_clock::now() + std::chrono::hours(1);
  QueuedTask patient = MakeStep(std::chrono::hours(2), until);
  QueuedTask urgent = MakeStep(-milliseconds(5), until);
  SleepingPopper popper(&queue, {until, 3});
  while (!queue.has_sleeper()) std::this_thread::yield();

  ASSERT_TRUE(queue.TryPush(std::move(patient)).ok());
  EXPECT_TRUE(queue.has_sleeper());
  ASSERT_TRUE(queue.TryPush(std::move(urgent)).ok());

  EXPECT_EQ(popper.Join(), 2U);
}

TEST_P(PopperTest, LosesNothingBetweenManyPushersAndOnePopper) {
  StepQueue queue(50, 4, spin());
  std::atomic<int> num_accepted{0};
  const auto push = [&] {
    for (int i = 0; i < 2000; ++i) {
      num_accepted += queue.TryPush(MakeTask("x")).ok() ? 1 : 0;
    }
  };
  std::vector<std::thread> pushers;
  for (int t = 0; t < 4; ++t) pushers.emplace_back(push);
  int num_popped = 0;
  std::thread popper([&] {
    std::vector<QueuedTask> tasks;
    while (queue.PopAll({}, &tasks)) {
      num_popped += static_cast<int>(tasks.size());
      queue.Finish(static_cast<std::int64_t>(tasks.size()), spin());
      tasks.clear();
    }
  });
  for (std::thread& pusher : pushers) pusher.join();
  queue.Close();
  popper.join();

  EXPECT_EQ(num_popped, num_accepted);
  EXPECT_EQ(queue.num_unfinished(), 0);
}

}  // namespace
}  // namespace stepd
