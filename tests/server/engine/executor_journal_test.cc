// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What an executor writes into a journal, and takes out of it.

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/common/error.h"
#include "server/engine/executor.h"
#include "tests/fakes/fake_journal.h"
#include "tests/server/engine/executor_fixture.h"

namespace stepd {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;
using testing::IsEmpty;

class ExecutorJournalTest : public ExecutorFixture {
 protected:
  ExecutorJournalTest() { journal_ = &fake_; }

  // A new process with the same journal.
  void Restart() {
    executor_.reset();
    Start();
  }
  Answer* StepAt(std::uint64_t index, const std::vector<std::int64_t>& xs) {
    Answer* answer = nullptr;
    StepTask task = Task("a", xs, &answer);
    task.step_index = index;
    task.epoch = 7;
    Submit(std::move(task));
    RunAll();
    return answer;
  }
  void BreakJournal() {
    fake_.Break(Error(absl::StatusCode::kUnavailable, reason::kJournal, ""));
  }

  FakeJournal fake_;
};

TEST_F(ExecutorJournalTest, ASessionGoesOnInTheNextProcess) {
  Start();
  StepAt(0, {1, 2});
  Answer* last = StepAt(2, {3});
  Restart();

  Answer* retry = StepAt(2, {3});
  Answer* next = StepAt(3, {4});

  EXPECT_THAT(retry->reply(), SameReply(last->reply()));
  EXPECT_THAT(next->reply(), SameReply(Replay("a", {1, 2, 3}, {4})));
  EXPECT_EQ(next->reply().epoch, 7U);
  EXPECT_EQ(next->reply().served_from, ServedFrom::kJournal);
}

TEST_F(ExecutorJournalTest, ABatchIsOneWrite) {
  Start();
  for (const char* actor : {"a", "b", "c"}) Step(actor, {1});
  RunBatch();
  EXPECT_EQ(fake_.num_appends(), 1);
  EXPECT_EQ(fake_.sessions().size(), 3U);
}

TEST_F(ExecutorJournalTest, AStepThatIsNotWrittenDidNotHappen) {
  Start();
  Grow("a", 2);
  BreakJournal();
  Answer* failed = Step("a", {9});
  RunAll();
  fake_.Break(absl::OkStatus());
  Answer* next = Step("a", {5});
  RunAll();

  EXPECT_EQ(ReasonOf(failed->status()), reason::kJournal);
  EXPECT_THAT(next->reply(), SameReply(Replay("a", {0, 1}, {5})));
}

TEST_F(ExecutorJournalTest, ASessionOutlivesTheStepThatFailedToEndIt) {
  Start();
  StepAt(0, {1, 2});
  Answer* late = nullptr;
  StepTask first_of_next = Task("a", {9}, &late);
  first_of_next.step_index = 0;
  first_of_next.epoch = 8;
  first_of_next.deadline = clock_.Now() + seconds(1);
  Submit(std::move(first_of_next));
  ImportTask copy;  // of a fork on another executor
  copy.actor_id = "a";
  copy.record = std::make_shared<const SessionRecord>(fake_.sessions().at("a"));
  copy.epoch = 9;
  absl::Status copied;
  copy.done = [&](const absl::StatusOr<bool>& made) { copied = made.status(); };
  SubmitOther(std::move(copy));
  clock_.Advance(seconds(2));
  RunAll();
  Answer* next = StepAt(2, {3});

  EXPECT_EQ(ReasonOf(late->status()), reason::kDeadline);
  EXPECT_EQ(ReasonOf(copied), reason::kSessionExists);
  EXPECT_THAT(next->reply(), SameReply(Replay("a", {1, 2}, {3})));
}

TEST_F(ExecutorJournalTest, AJournalThatFellBehindIsGivenTheWholeSession) {
  Start();
  Grow("a", 3);
  fake_.Forget("a");
  Step("a", {3});
  RunAll();
  Restart();
  Answer* next = Step("a", {4});
  RunAll();

  EXPECT_THAT(next->reply(), SameReply(Replay("a", {0, 1, 2, 3}, {4})));
}

TEST_F(ExecutorJournalTest, ASessionThatAnotherServerHasIsReadAgain) {
  Start();
  Grow("a", 3);
  fake_.TakeOver("a");
  Answer* late = Step("a", {9});
  RunAll();
  Answer* next = Step("a", {4});
  RunAll();

  EXPECT_EQ(late->status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(next->reply(), SameReply(Replay("a", {0, 1, 2}, {4})));
  EXPECT_EQ(next->reply().served_from, ServedFrom::kJournal);
}

TEST_F(ExecutorJournalTest, AStepThatFollowsAnotherServersStepsIsTaken) {
  Start();
  StepAt(0, {0});
  SessionRecord later = fake_.sessions().at("a");
  later.steps.Append(EncodeFakeStep(1));  // as if another server had done it
  fake_.Put(later);
  Answer* next = StepAt(2, {2});

  EXPECT_THAT(next->reply(), SameReply(Replay("a", {0, 1}, {2})));
  EXPECT_EQ(next->reply().served_from, ServedFrom::kJournal);
}

TEST_F(ExecutorJournalTest, ResetsAndEphemeralSessionsLeaveNothing) {
  Start();
  Grow("a", 3);
  Grow("b", 3);
  Reset("a");
  Answer* answer = nullptr;
  StepTask last = Task("b", {9}, &answer);
  last.is_ephemeral = true;
  Submit(std::move(last));
  RunAll();
  EXPECT_THAT(fake_.sessions(), IsEmpty());
}

TEST_F(ExecutorJournalTest, AResetThatIsNotWrittenDidNotHappen) {
  Start();
  Grow("a", 3);
  BreakJournal();
  EXPECT_EQ(ReasonOf(Reset("a")->status()), reason::kJournal);
  EXPECT_EQ(executor_->FindSession("a")->num_steps(), 3);
}

TEST_F(ExecutorJournalTest, ExpiredSessionsComeBack) {
  options_.idle_timeout = seconds(1);
  Start();
  Grow("a", 3);
  clock_.Advance(seconds(2));
  executor_->ExpireIdle(clock_.Now());
  EXPECT_EQ(executor_->FindSession("a"), nullptr);
  Answer* next = Step("a", {3});
  RunAll();

  EXPECT_THAT(next->reply(), SameReply(Replay("a", {0, 1, 2}, {3})));
  EXPECT_THAT(observer_.records().session_ends,
              ElementsAre(SessionEnd::kStored));
}

TEST_F(ExecutorJournalTest, AResetThatComesLateEndsNoSessionItCannotRead) {
  max_sessions_ = 1;
  Start();
  StepAt(0, {1});  // of epoch 7
  Step("b", {5});  // takes the only place
  RunAll();
  Step("b", {6});  // is busy
  Answer reset;
  ResetTask late = MakeFakeReset("a", &reset);
  late.epoch = 7;
  SubmitOther(std::move(late));
  RunAll();

  EXPECT_EQ(ReasonOf(reset.status()), reason::kSessionsFull);
  EXPECT_EQ(StepAt(1, {2})->reply().served_from, ServedFrom::kJournal);
}

TEST_F(ExecutorJournalTest, IdleSessionsMakeRoomForNewOnes) {
  max_sessions_ = 1;
  Start();
  Grow("a", 3);
  Grow("b", 2);
  Answer* next = Step("a", {3});
  RunAll();
  EXPECT_THAT(next->reply(), SameReply(Replay("a", {0, 1, 2}, {3})));
}

TEST_F(ExecutorJournalTest, AnUnreadableSessionIsNotBegunAnew) {
  Start();
  BreakJournal();
  Answer* answer = Step("a", {1});
  EXPECT_EQ(ReasonOf(answer->status()), reason::kJournal);
  EXPECT_EQ(executor_->FindSession("a"), nullptr);
}

TEST_F(ExecutorJournalTest, TheContextThatWasForgottenStaysForgotten) {
  options_.context.max_steps = 4;
  options_.context.keep_steps = 2;
  Start();
  Grow("a", 7);
  const StepReply want = [this] {
    ReplayedActor replayed("a", policy_options_, options_.context);
    for (int i = 0; i < 7; ++i) replayed.Step({i});
    return replayed.Step({9});
  }();
  Restart();
  Answer* next = Step("a", {9});
  RunAll();
  EXPECT_THAT(next->reply(), SameReply(want));
}

TEST_F(ExecutorJournalTest, ForksAreWrittenAsSessionsOfTheirOwn) {
  Start();
  Grow("a", 3);
  ForkTask fork;
  fork.actor_id = "a";
  fork.forks = {"b"};
  fork.done = [](const absl::StatusOr<ForkResult>& r) { EXPECT_TRUE(r.ok()); };
  SubmitOther(std::move(fork));
  Restart();
  Answer* b = Step("b", {3});
  RunAll();
  EXPECT_THAT(b->reply(), SameReply(Replay("b", {0, 1, 2}, {3})));
}

TEST_F(ExecutorJournalTest, AForkThatIsAskedForAgainAfterARestartIsMadeOnce) {
  Start();
  Grow("a", 3);
  std::vector<absl::Status> results;
  const auto fork = [&](std::uint64_t epoch) {
    ForkTask task;
    task.actor_id = "a";
    task.forks = {"b"};
    task.epoch = epoch;
    task.done = [&results](const absl::StatusOr<ForkResult>& result) {
      results.push_back(result.status());
    };
    SubmitOther(std::move(task));
  };
  fork(77);
  Restart();
  fork(77);
  fork(78);

  ASSERT_EQ(results.size(), 3);
  EXPECT_TRUE(results[1].ok()) << results[1];
  EXPECT_EQ(ReasonOf(results[2]), reason::kSessionExists);
}

}  // namespace
}  // namespace stepd
