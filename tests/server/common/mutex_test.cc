// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/common/mutex.h"

#include <chrono>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace stepd {
namespace {

struct Counter {
  Mutex mu;
  CondVar changed;
  int value ABSL_GUARDED_BY(mu) = 0;
};

TEST(Mutex, ExcludesOtherThreads) {
  Counter counter;
  const auto count = [&counter] {
    for (int i = 0; i < 1000; ++i) {
      MutexLock lock(&counter.mu);
      ++counter.value;
    }
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) threads.emplace_back(count);
  for (std::thread& thread : threads) thread.join();

  MutexLock lock(&counter.mu);
  EXPECT_EQ(counter.value, 4000);
}

TEST(CondVar, WakesAWaiter) {
  Counter counter;
  std::thread setter([&counter] {
    MutexLock lock(&counter.mu);
    counter.value = 1;
    counter.changed.NotifyAll();
  });

  {
    MutexLock lock(&counter.mu);
    while (counter.value == 0) counter.changed.Wait(&counter.mu);
    EXPECT_EQ(counter.value, 1);
  }
  setter.join();
}

TEST(CondVar, WaitUntilReportsATimeThatHasPassed) {
  Counter counter;
  MutexLock lock(&counter.mu);

  EXPECT_FALSE(counter.changed.WaitUntil(
      &counter.mu, std::chrono::steady_clock::time_point()));
}

}  // namespace
}  // namespace stepd
