// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/session_blocks.h"

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/running_versions.h"
#include "server/engine/served_version.h"
#include "tests/fakes/fake_policy.h"
#include "tests/fakes/recording_observer.h"

namespace stepd {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// Remembers which blocks were copied.
class CopyingRunner : public PolicyRunner {
 public:
  absl::Status Forward(const StepBatch&, StepResult*) override {
    return absl::UnimplementedError("");
  }
  void CopyBlock(std::int32_t from, std::int32_t to) override {
    copies.emplace_back(from, to);
  }
  std::vector<std::pair<std::int32_t, std::int32_t>> copies;
};

// Four tokens per block, a step is a token.
class SessionBlocksTest : public testing::Test {
 protected:
  explicit SessionBlocksTest(std::int32_t num_blocks = 8)
      : runner_(new CopyingRunner),
        versions_(std::make_shared<ServedVersion>(1, policy_),
                  std::unique_ptr<PolicyRunner>(runner_), KvPolicy::kPin,
                  /*are_held=*/true),
        table_(SessionShape{}),
        blocks_(policy_->spec(), num_blocks, &versions_, &table_, &observer_) {}

  // A session whose cached tokens are all in blocks.
  Session* Grow(const std::string& actor, std::int64_t num_tokens) {
    Session* session = table_.FindOrCreate(actor);
    EXPECT_TRUE(blocks_.Reserve(num_tokens, 0, session));
    session->num_tokens = session->num_cached_tokens = num_tokens;
    session->num_cached_steps = num_tokens;
    return session;
  }
  Session* Fork(const Session& source, const std::string& actor) {
    Session* fork = table_.FindOrCreate(actor);
    blocks_.Share(source, fork);
    return fork;
  }
  void MakeIdle(Session* session) {
    table_.MarkIdle(session, MonotonicTime(std::chrono::seconds(++now_)));
  }

  const std::shared_ptr<const FakePolicy> policy_ =
      std::make_shared<const FakePolicy>();
  CopyingRunner* const runner_;  // of versions_
  RunningVersions versions_;
  RecordingObserver observer_;
  SessionTable table_;
  SessionBlocks blocks_;
  int now_ = 0;
};

TEST_F(SessionBlocksTest, TrimGivesBlocksBackFromTheEnd) {
  Session* session = Grow("a", 18);
  const std::vector<std::int32_t> before = session->blocks;

  blocks_.Trim(7, session);
  EXPECT_THAT(session->blocks, ElementsAre(before[0], before[1]));
  EXPECT_EQ(blocks_.pool().num_used(), 2);
  blocks_.Trim(16, session);
  EXPECT_EQ(blocks_.pool().num_used(), 2);
}

TEST_F(SessionBlocksTest, DropForgetsWhatWasCached) {
  Session* session = Grow("a", 6);
  blocks_.Drop(session);

  EXPECT_THAT(session->blocks, IsEmpty());
  EXPECT_EQ(blocks_.pool().num_used(), 0);
  EXPECT_EQ(session->num_cached_tokens, 0);
  EXPECT_EQ(session->num_cached_steps, 0);
  EXPECT_EQ(session->num_tokens, 6);
}

TEST_F(SessionBlocksTest, AForkSharesBlocksUntilItAppends) {
  Session* source = Grow("a", 6);
  Session* fork = Fork(*source, "b");
  EXPECT_EQ(blocks_.pool().num_used(), 2);
  EXPECT_EQ(fork->num_cached_tokens, 6);

  ASSERT_TRUE(blocks_.Reserve(7, 6, fork));

  EXPECT_EQ(fork->blocks[0], source->blocks[0]);
  EXPECT_NE(fork->blocks[1], source->blocks[1]);
  EXPECT_THAT(runner_->copies,
              ElementsAre(std::pair(source->blocks[1], fork->blocks[1])));
  EXPECT_EQ(blocks_.pool().num_used(), 3);
  EXPECT_EQ(blocks_.pool().use_count(source->blocks[1]), 1);

  ASSERT_TRUE(blocks_.Reserve(7, 6, source));  // its last block is its own now
  EXPECT_EQ(runner_->copies.size(), 1U);
}

TEST_F(SessionBlocksTest, AFullLastBlockIsNotCopied) {
  Session* source = Grow("a", 8);
  Session* fork = Fork(*source, "b");

  ASSERT_TRUE(blocks_.Reserve(9, 8, fork));

  EXPECT_THAT(runner_->copies, IsEmpty());
  EXPECT_EQ(blocks_.pool().num_used(), 3);
}

TEST_F(SessionBlocksTest, ARebuildOfAForkLeavesTheSharedBlocksAlone) {
  Session* source = Grow("a", 6);
  Session* fork = Fork(*source, "b");

  ASSERT_TRUE(blocks_.Reserve(8, 0, fork));

  EXPECT_NE(fork->blocks[0], source->blocks[0]);
  EXPECT_NE(fork->blocks[1], source->blocks[1]);
  EXPECT_EQ(fork->num_cached_tokens, 0);
  EXPECT_EQ(source->num_cached_tokens, 6);
  EXPECT_THAT(runner_->copies, IsEmpty());
}

TEST_F(SessionBlocksTest, ASourceThatLostItsBlocksLeavesThoseOfItsForks) {
  Session* source = Grow("a", 6);
  Session* fork = Fork(*source, "b");
  blocks_.Evict(source);

  EXPECT_EQ(blocks_.pool().num_used(), 2);
  ASSERT_TRUE(blocks_.Reserve(7, 6, fork));
  EXPECT_THAT(runner_->copies, IsEmpty());
}

TEST_F(SessionBlocksTest, IdleSessionsGiveTheirBlocksUntilThereAreEnough) {
  Session* source = Grow("a", 8);
  MakeIdle(Fork(*source, "b"));
  MakeIdle(source);
  MakeIdle(Grow("c", 16));

  Session* session = table_.FindOrCreate("d");
  ASSERT_TRUE(blocks_.Reserve(32, 0, session));

  EXPECT_EQ(session->blocks.size(), 8U);
  EXPECT_THAT(source->blocks, IsEmpty());
  EXPECT_FALSE(blocks_.Reserve(36, 0, session));
  EXPECT_EQ(session->blocks.size(), 8U);
}

TEST_F(SessionBlocksTest, TheSessionThatGivesMostForItsRebuildGoesFirst) {
  Session* shared = Grow("shared", 8);
  MakeIdle(shared);
  Session* fork = Fork(*shared, "fork");  // busy: its blocks stay in use
  Session* alone = Grow("alone", 8);
  MakeIdle(alone);

  Session* session = table_.FindOrCreate("d");
  ASSERT_TRUE(blocks_.Reserve(20, 0, session));

  EXPECT_THAT(alone->blocks, IsEmpty());
  EXPECT_EQ(shared->blocks.size(), 2U);
  EXPECT_EQ(fork->blocks.size(), 2U);
}

}  // namespace
}  // namespace stepd
