// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Forks, copies in and out, and what is told of sessions.

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/common/error.h"
#include "server/engine/executor.h"
#include "tests/server/engine/executor_fixture.h"

namespace stepd {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

class ForkTest : public ExecutorFixture {
 protected:
  absl::StatusOr<ForkResult> Fork(const std::string& source,
                                  const std::vector<std::string>& forks) {
    absl::StatusOr<ForkResult> result = absl::UnknownError("not done");
    ForkTask task;
    task.actor_id = source;
    task.forks = forks;
    task.done = [&result](absl::StatusOr<ForkResult> r) { result = r; };
    SubmitOther(std::move(task));
    return result;
  }
  absl::StatusOr<SessionRecord> Export(const std::string& actor) {
    absl::StatusOr<SessionRecord> result = absl::UnknownError("not done");
    ExportTask task;
    task.actor_id = actor;
    task.done = [&result](absl::StatusOr<SessionRecord> r) { result = r; };
    SubmitOther(std::move(task));
    return result;
  }
  absl::Status Import(const std::string& actor, const SessionRecord& record) {
    absl::Status result = absl::UnknownError("not done");
    ImportTask task;
    task.actor_id = actor;
    task.record = std::make_shared<const SessionRecord>(record);
    task.done = [&result](const absl::StatusOr<bool>& was_made) {
      result = was_made.status();
    };
    SubmitOther(std::move(task));
    return result;
  }
  absl::StatusOr<SessionInfo> Inspect(const std::string& actor) {
    absl::StatusOr<SessionInfo> result = absl::UnknownError("not done");
    InspectTask task;
    task.actor_id = actor;
    task.done = [&result](absl::StatusOr<SessionInfo> r) { result = r; };
    SubmitOther(std::move(task));
    return result;
  }
};

TEST_F(ForkTest, EveryForkGoesOnFromTheSourceAndOnItsOwn) {
  Start();
  Grow("a", 6);
  ASSERT_TRUE(Fork("a", {"b", "c"}).ok());
  EXPECT_EQ(executor_->pool().num_used(), 2);

  Answer* b = Step("b", {10});
  Answer* c = Step("c", {11, 12});
  Answer* a = Step("a", {13});
  RunAll();
  Answer* b2 = Step("b", {14});
  RunAll();

  const std::vector<std::int64_t> before = {0, 1, 2, 3, 4, 5};
  EXPECT_THAT(b->reply(), SameReply(Replay("b", before, {10})));
  EXPECT_THAT(c->reply(), SameReply(Replay("c", before, {11, 12})));
  EXPECT_THAT(a->reply(), SameReply(Replay("a", before, {13})));
  EXPECT_THAT(b2->reply(),
              SameReply(Replay("b", {0, 1, 2, 3, 4, 5, 10}, {14})));
  EXPECT_EQ(b->reply().served_from, ServedFrom::kCache);
  EXPECT_EQ(NumCached("b"), 8);
}

TEST_F(ForkTest, AForkRunsAfterTheStepsThatWereAskedBefore) {
  Start();
  Step("a", {1});
  absl::StatusOr<ForkResult> result = absl::UnknownError("not done");
  ForkTask task;
  task.actor_id = "a";
  task.forks = {"b"};
  task.done = [&result](absl::StatusOr<ForkResult> r) { result = r; };
  SubmitOther(std::move(task));
  Step("a", {2});
  EXPECT_FALSE(result.ok());
  RunAll();

  ASSERT_TRUE(result.ok());
  EXPECT_EQ(executor_->FindSession("b")->num_steps(), 1);
  EXPECT_EQ(executor_->FindSession("b")->epoch, result->epoch);
}

TEST_F(ForkTest, AForkThatIsAskedForTwiceIsMadeOnce) {
  Start();
  Grow("a", 3);
  std::vector<absl::Status> results;
  const auto fork = [&](std::vector<std::string> forks) {
    ForkTask task;
    task.actor_id = "a";
    task.forks = std::move(forks);
    task.epoch = 77;
    task.done = [&](const absl::StatusOr<ForkResult>& result) {
      results.push_back(result.status());
    };
    SubmitOther(std::move(task));
  };

  fork({"b"});
  fork({"b", "c"});
  Grow("a", 1);
  fork({"b"});

  ASSERT_THAT(results, SizeIs(3));
  EXPECT_TRUE(results[0].ok()) << results[0];
  EXPECT_TRUE(results[1].ok()) << results[1];
  EXPECT_EQ(executor_->FindSession("c")->epoch, 77);
  // Since then the source has gone on: this is another fork.
  EXPECT_EQ(results[2].code(), absl::StatusCode::kAlreadyExists);
}

TEST_F(ForkTest, LookingAtASessionIsNoUseOfIt) {
  Start();
  Grow("a", 1);
  clock_.Advance(seconds(5));

  ASSERT_TRUE(Inspect("a").ok());
  clock_.Advance(seconds(2));

  EXPECT_EQ(Inspect("a")->idle, absl::Seconds(7));
  EXPECT_EQ(Inspect("a")->tier, ServedFrom::kCache);
  EXPECT_EQ(Inspect("a")->model_version, 1);
}

TEST_F(ForkTest, ForksOfForksOutliveTheirSources) {
  Start();
  Grow("a", 5);
  ASSERT_TRUE(Fork("a", {"b"}).ok());
  Step("b", {7});
  RunAll();
  ASSERT_TRUE(Fork("b", {"c"}).ok());
  Reset("a");
  Reset("b");
  Answer* c = Step("c", {8});
  RunAll();

  EXPECT_THAT(c->reply(), SameReply(Replay("c", {0, 1, 2, 3, 4, 7}, {8})));
  Reset("c");
  EXPECT_EQ(executor_->pool().num_used(), 0);
}

TEST_F(ForkTest, AForkOfAnEvictedSessionIsRebuiltFromItsLog) {
  options_.num_blocks = 3;
  Start();
  Grow("a", 6);
  Grow("other", 9);  // takes the blocks
  ASSERT_TRUE(Fork("a", {"b"}).ok());
  Answer* b = Step("b", {10});
  RunAll();

  EXPECT_THAT(b->reply(), SameReply(Replay("b", {0, 1, 2, 3, 4, 5}, {10})));
  EXPECT_EQ(b->reply().served_from, ServedFrom::kLog);
}

TEST_F(ForkTest, OfForksThatCannotAllBeMadeNoneIs) {
  max_sessions_ = 3;
  Start();
  Grow("a", 2);
  Grow("taken", 1);

  EXPECT_EQ(ReasonOf(Fork("a", {"b", "taken"}).status()),
            reason::kSessionExists);
  EXPECT_EQ(ReasonOf(Fork("a", {"b", "c"}).status()), reason::kSessionsFull);
  EXPECT_EQ(ReasonOf(Fork("nobody", {"b"}).status()), reason::kSessionUnknown);
  EXPECT_EQ(executor_->FindSession("b"), nullptr);
  EXPECT_EQ(executor_->FindSession("nobody"), nullptr);
  EXPECT_EQ(executor_->gauges().num_sessions, 2);
  EXPECT_TRUE(Fork("a", {"b"}).ok());
}

TEST_F(ForkTest, AnExportedSessionGoesOnUnderAnyName) {
  Start();
  Answer* answer = nullptr;
  StepTask first = Task("a", {1, 2, 3}, &answer);
  first.step_index = 0;
  first.epoch = 5;
  Submit(std::move(first));
  RunAll();
  const absl::StatusOr<SessionRecord> record = Export("a");
  ASSERT_TRUE(record.ok());
  EXPECT_EQ(record->num_steps(), 3U);

  Reset("a");
  ASSERT_TRUE(Import("a", *record).ok());
  ASSERT_TRUE(Import("b", *record).ok());
  Answer* retry = nullptr;
  StepTask again = Task("a", {1, 2, 3}, &retry);
  again.step_index = 0;
  again.epoch = 5;
  Submit(std::move(again));
  Answer* a = Step("a", {4});
  Answer* b = Step("b", {4});
  RunAll();

  EXPECT_THAT(retry->reply(), SameReply(answer->reply()));
  EXPECT_THAT(a->reply(), SameReply(Replay("a", {1, 2, 3}, {4})));
  EXPECT_THAT(b->reply(), SameReply(Replay("b", {1, 2, 3}, {4})));
}

TEST_F(ForkTest, AnExportHasTheContextAndItsPlaceInTheSession) {
  options_.context.max_steps = 4;
  options_.context.keep_steps = 2;
  Start();
  Grow("a", 5);  // the fifth begins again with the fourth
  const absl::StatusOr<SessionRecord> record = Export("a");
  ASSERT_TRUE(record.ok());
  EXPECT_EQ(record->first_step, 3U);
  EXPECT_EQ(record->num_steps(), 5U);
  ASSERT_TRUE(Import("b", *record).ok());
  Answer* a = Step("a", {9});
  Answer* b = Step("b", {9});
  RunAll();
  EXPECT_EQ(a->reply().step_index, 6U);
  EXPECT_THAT(b->reply(), SameReply(a->reply()));
}

TEST_F(ForkTest, ARecordThatIsNoSessionOfThePolicyIsRefused) {
  policy_options_.fields[0].max = 100;
  Start();
  SessionRecord good;
  good.steps.Append(EncodeFakeStep(5));
  std::vector<SessionRecord> bad(4);
  bad[1].steps.Append("short");
  bad[2].steps.Append(EncodeFakeStep(101));
  bad[3] = good;
  bad[3].session_inputs = EncodeFakeStep(1);

  for (const SessionRecord& record : bad) {
    EXPECT_EQ(ReasonOf(Import("a", record)), reason::kRecord);
    EXPECT_EQ(executor_->FindSession("a"), nullptr);
  }
  EXPECT_TRUE(Import("a", good).ok());
  EXPECT_EQ(ReasonOf(Import("a", good)), reason::kSessionExists);
}

TEST_F(ForkTest, TellsWhatASessionIs) {
  Start();
  Grow("a", 6);
  ASSERT_TRUE(Fork("a", {"b"}).ok());
  clock_.Advance(seconds(3));
  const absl::StatusOr<SessionInfo> info = Inspect("a");
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info->num_steps, 6);
  EXPECT_EQ(info->context_tokens, 6);
  EXPECT_EQ(info->cached_tokens, 6);
  EXPECT_EQ(info->num_blocks, 2);
  EXPECT_EQ(info->num_shared_blocks, 2);
  EXPECT_EQ(info->log_bytes, 48);
  EXPECT_FALSE(info->is_busy);
  EXPECT_EQ(info->idle, absl::Seconds(3));
  EXPECT_EQ(ReasonOf(Inspect("nobody").status()), reason::kSessionUnknown);
}

TEST_F(ForkTest, ListsSessionsByPrefixAndThoseThatEnded) {
  options_.idle_timeout = seconds(10);
  Start();
  Grow("env-1", 1);
  clock_.Advance(seconds(5));
  Grow("env-2", 2);
  Grow("other", 3);
  ResetTask close = MakeReset("other", [](const absl::Status&) {});
  close.end = SessionEnd::kClosed;
  SubmitOther(std::move(close));
  clock_.Advance(seconds(6));
  executor_->ExpireIdle(clock_.Now());

  EXPECT_THAT(observer_.records().expiries,
              ElementsAre(testing::Pair(1, "env-1")));
  const SessionList all = List("");
  ASSERT_THAT(all.sessions, SizeIs(1));
  EXPECT_EQ(all.sessions[0].actor_id, "env-2");
  EXPECT_EQ(all.num_sessions, 1);
  ASSERT_THAT(all.ended, SizeIs(2));
  EXPECT_EQ(all.ended[0].actor_id, "other");
  EXPECT_EQ(all.ended[0].end, SessionEnd::kClosed);
  EXPECT_EQ(all.ended[0].num_steps, 3);
  EXPECT_EQ(all.ended[1].actor_id, "env-1");
  EXPECT_EQ(all.ended[1].end, SessionEnd::kExpired);
  EXPECT_THAT(List("o").sessions, IsEmpty());
  EXPECT_THAT(List("", 0).sessions, IsEmpty());
}

}  // namespace
}  // namespace stepd
