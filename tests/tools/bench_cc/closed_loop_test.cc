// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

// The load generator against the real service and engine with a fake policy.

#include "tools/bench_cc/closed_loop.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "server/engine/engine.h"
#include "server/engine/observer.h"
#include "server/service/policy_service.h"
#include "server/service/server.h"
#include "tests/fakes/fake_policy.h"

namespace stepd::bench {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

constexpr int kEpisodeSteps = 8;
constexpr int kNumActors = 6;

class ClosedLoopFixture : public testing::Test {
 protected:
  void StartServer(std::int64_t max_steps) {
    policy_ = std::make_shared<FakePolicy>();
    EngineOptions options;
    options.num_executors = 2;
    options.cache_bytes = 1 << 20;
    options.context.max_steps = max_steps;
    auto engine = Engine::Create(policy_, options, &observer_);
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
    PolicyServiceOptions service;
    service.server_version = "1.2.3";
    service_ = PolicyService::Create(engine_.get(), service, &observer_);
    ServerOptions address;
    address.address = "127.0.0.1:0";
    auto server = Server::Start(address, {service_.get()});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  void TearDown() override {
    if (server_ != nullptr) server_->Shutdown(absl::ZeroDuration());
  }

  ClosedLoopOptions Options(Mode mode) const {
    ClosedLoopOptions options;
    options.target = absl::StrCat("127.0.0.1:", server_->port());
    options.mode = mode;
    options.num_actors = kNumActors;
    options.num_threads = 2;
    options.num_connections = 2;
    options.rows_per_batch = 2;
    options.episode_steps = kEpisodeSteps;
    options.steps_per_second = 2000.0;
    return options;
  }

  int NumTokens() const {
    int tokens = 0;
    for (const auto& forward : policy_->forwards()) {
      tokens += forward.num_tokens;
    }
    return tokens;
  }

  NullObserver observer_;
  std::shared_ptr<FakePolicy> policy_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<PolicyService> service_;
  std::unique_ptr<Server> server_;
};

class ClosedLoopTest : public ClosedLoopFixture,
                       public testing::WithParamInterface<Mode> {
 protected:
  ClosedLoopOptions Options() const {
    return ClosedLoopFixture::Options(GetParam());
  }
};

INSTANTIATE_TEST_SUITE_P(Modes, ClosedLoopTest,
                         testing::Values(Mode::kUnary, Mode::kStream,
                                         Mode::kBatch, Mode::kOpen),
                         [](const auto& info) {
                           return std::string(Name(info.param));
                         });

TEST_P(ClosedLoopTest, StaggersTheSessions) {
  StartServer(1000);
  const auto loop = ClosedLoop::Create(Options());
  ASSERT_TRUE(loop.ok()) << loop.status();
  EXPECT_EQ((*loop)->server_version(), "1.2.3");
  EXPECT_EQ(NumTokens(), 0 + 1 + 2 + 4 + 5 + 6);
}

TEST_P(ClosedLoopTest, RunsUntilTheWindowIsOver) {
  // Who forgets to reset is told. Resets of a batch may come after its steps.
  StartServer(GetParam() == Mode::kBatch ? 1000 : kEpisodeSteps);
  const auto loop = ClosedLoop::Create(Options());
  ASSERT_TRUE(loop.ok()) << loop.status();
  const int num_tokens = NumTokens();
  Window window;
  window.begin = LoadClock::now();
  window.end = window.begin + std::chrono::milliseconds(300);
  const auto result = (*loop)->Run(window);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_GE(LoadClock::now(), window.end);
  const int num_steps = NumTokens() - num_tokens;
  EXPECT_GE(num_steps, kNumActors);
  // Those answered after the window are not counted.
  EXPECT_LE(result->steps_per_second * 0.3, num_steps + 0.5);
  EXPECT_TRUE(
      std::is_sorted(result->latencies.begin(), result->latencies.end()));
  EXPECT_THAT(policy_->violations(), IsEmpty());
}

TEST_P(ClosedLoopTest, CountsNothingOutsideTheWindow) {
  StartServer(1000);
  const auto loop = ClosedLoop::Create(Options());
  ASSERT_TRUE(loop.ok()) << loop.status();
  const int num_tokens = NumTokens();
  const LoadTime past = LoadClock::now() - std::chrono::seconds(1);
  const auto result = (*loop)->Run({past, past + std::chrono::milliseconds(1)});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->steps_per_second, 0.0);
  EXPECT_THAT(result->latencies, IsEmpty());
  // One step each, and no more.
  EXPECT_EQ(NumTokens() - num_tokens, kNumActors);
}

TEST_P(ClosedLoopTest, AnErrorOfTheServerEndsIt) {
  StartServer(kEpisodeSteps - 2);  // the longest session is full at once
  const auto loop = ClosedLoop::Create(Options());
  ASSERT_TRUE(loop.ok()) << loop.status();
  Window window;
  window.begin = LoadClock::now();
  window.end = window.begin + std::chrono::hours(1);
  const auto result = (*loop)->Run(window);
  ASSERT_FALSE(result.ok());
  EXPECT_THAT(std::string(result.status().message()),
              HasSubstr("the limit is 6"));
}

using OpenLoopTest = ClosedLoopFixture;

// A server that stands still for a while is charged with every step that was
// due meanwhile, though none of them could be sent.
TEST_F(OpenLoopTest, LatencyCountsFromWhenAStepWasDue) {
  StartServer(1000);
  ClosedLoopOptions options = Options(Mode::kOpen);
  options.num_actors = 1;
  options.num_threads = options.num_connections = 1;
  options.steps_per_second = 1000.0;
  const auto loop = ClosedLoop::Create(options);
  ASSERT_TRUE(loop.ok()) << loop.status();
  const std::size_t num_before = policy_->forwards().size();
  policy_->FailForwards([&](std::int64_t n) {
    if (n == static_cast<std::int64_t>(num_before)) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    return false;
  });
  Window window;
  window.begin = LoadClock::now();
  window.end = window.begin + std::chrono::milliseconds(400);

  const auto result = (*loop)->Run(window);

  ASSERT_TRUE(result.ok()) << result.status();
  const auto num_late =
      std::count_if(result->latencies.begin(), result->latencies.end(),
                    [](float seconds) { return seconds > 0.02F; });
  EXPECT_GE(num_late, 20);  // 80 were due in time for that
}

TEST(ClosedLoopModeTest, NamesGoBothWays) {
  for (const Mode mode :
       {Mode::kUnary, Mode::kStream, Mode::kBatch, Mode::kOpen}) {
    EXPECT_EQ(FindMode(Name(mode)).value(), mode);
  }
  EXPECT_EQ(FindMode("other").status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace stepd::bench
