// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What is Redis' own, against a real server; what holds for every journal is in
// journal_test.cc.

#include "server/journal/redis_journal.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/common/error.h"
#include "tests/server/journal/holding_proxy.h"
#include "tests/server/journal/redis_server.h"
#include "tests/server/journal/some_session.h"
#include "tools/bench_cc/temporary_folder.h"

namespace stepd {
namespace {

MonotonicTime In(std::chrono::milliseconds duration) {
  return std::chrono::steady_clock::now() + duration;
}

class RedisJournalTest : public testing::Test {
 protected:
  std::unique_ptr<Journal> Connect(const std::string& address,
                                   absl::Duration ttl = absl::Hours(1)) {
    RedisJournalOptions options;
    options.address = address;
    options.name = "policy";
    options.ttl = ttl;
    auto journal = MakeRedisJournal(options);
    EXPECT_TRUE(journal.ok()) << journal.status();
    return *std::move(journal);
  }

  const std::unique_ptr<bench::TemporaryFolder> folder_ =
      bench::TemporaryFolder::Create().value();
  RedisServer server_{folder_->path(), /*is_durable=*/true};
  std::unique_ptr<Journal> journal_ = Connect(server_.address());
  SomeSession session_{"actor"};
};

TEST_F(RedisJournalTest, RefusesWhatIsNoAddress) {
  for (const char* address :
       {"", "localhost", "localhost:", ":6379", "localhost:70000", "unix:"}) {
    RedisJournalOptions options;
    options.address = address;
    EXPECT_EQ(MakeRedisJournal(options).status().code(),
              absl::StatusCode::kInvalidArgument)
        << address;
  }
}

TEST_F(RedisJournalTest, LetsAnotherServerTakeASessionOver) {
  const std::unique_ptr<Journal> other = Connect(server_.address());
  ASSERT_TRUE(Advance(journal_.get(), &session_, 3));

  EXPECT_EQ(ReadText(other.get(), "actor"), session_.text());
  ASSERT_TRUE(Advance(other.get(), &session_, 2));

  EXPECT_EQ(ReadText(journal_.get(), "actor"), session_.text());
  EXPECT_TRUE(Advance(journal_.get(), &session_, 1));
}

TEST_F(RedisJournalTest, RefusesAServerWhoseSessionWasTakenOver) {
  const std::unique_ptr<Journal> other = Connect(server_.address());
  ASSERT_TRUE(Advance(journal_.get(), &session_, 1));
  SomeSession neighbour("neighbour");
  ReadText(other.get(), "actor");  // is enough: nobody wrote yet

  const std::vector<JournalEntry> entries = {session_.NewSteps(1),
                                             neighbour.NewSteps(1)};
  const auto outcomes = journal_->Append(entries, kInfiniteFuture);

  EXPECT_EQ(*outcomes, (std::vector<JournalOutcome>{JournalOutcome::kTakenOver,
                                                    JournalOutcome::kWritten}));
  EXPECT_EQ(ReadText(other.get(), "actor"), session_.text());
}

TEST_F(RedisJournalTest, OpensASessionForOneServerOnly) {
  const std::unique_ptr<Journal> other = Connect(server_.address());
  SomeSession theirs("actor", "", 7);
  ASSERT_TRUE(Advance(other.get(), &theirs, 1));

  EXPECT_EQ(*AppendOne(journal_.get(), session_.NewSteps(1)),
            JournalOutcome::kTakenOver);

  EXPECT_EQ(ReadText(journal_.get(), "actor"), theirs.text());
}

TEST_F(RedisJournalTest, ResetsASessionWhoeverHasIt) {
  const std::unique_ptr<Journal> other = Connect(server_.address());
  SomeSession theirs("actor", "", 7);
  ASSERT_TRUE(Advance(other.get(), &theirs, 1));

  ASSERT_TRUE(AppendOne(journal_.get(), session_.Erase()).ok());

  EXPECT_EQ(*AppendOne(other.get(), theirs.NewSteps(1)),
            JournalOutcome::kTakenOver);
  EXPECT_EQ(ReadText(other.get(), "actor"), "none");
}

TEST_F(RedisJournalTest, NoticesThatEverythingIsGone) {
  ASSERT_TRUE(Advance(journal_.get(), &session_, 2));
  server_.Run({"FLUSHALL"});

  EXPECT_EQ(*AppendOne(journal_.get(), session_.NewSteps(1)),
            JournalOutcome::kBehind);
  EXPECT_EQ(ReadText(journal_.get(), "actor"), "none");

  session_.Commit();
  ASSERT_TRUE(AppendOne(journal_.get(), session_.Whole()).ok());
  EXPECT_TRUE(Advance(journal_.get(), &session_, 1));
  EXPECT_EQ(ReadText(journal_.get(), "actor"), session_.text());
}

TEST_F(RedisJournalTest, NoticesThatSomeStepsAreGone) {
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(Advance(journal_.get(), &session_, 1));
  }
  server_.Run({"HDEL", "stepd:policy:actor", "2"});

  EXPECT_EQ(journal_->Read("actor", kInfiniteFuture).status().code(),
            absl::StatusCode::kDataLoss);
}

TEST_F(RedisJournalTest, MendsAKeyOfAnotherType) {
  SomeSession neighbour("neighbour");
  ASSERT_TRUE(Advance(journal_.get(), &session_, 2));
  server_.Run({"SET", "stepd:policy:actor", "somebody else's"});

  const auto read = journal_->Read("actor", kInfiniteFuture);
  EXPECT_EQ(read.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(ReasonOf(read.status()), reason::kJournal);
  const std::vector<JournalEntry> entries = {session_.NewSteps(1),
                                             neighbour.NewSteps(1)};
  EXPECT_EQ(*journal_->Append(entries, kInfiniteFuture),
            (std::vector<JournalOutcome>{JournalOutcome::kBehind,
                                         JournalOutcome::kWritten}));
  session_.Commit();
  ASSERT_TRUE(AppendOne(journal_.get(), session_.Whole()).ok());
  EXPECT_EQ(ReadText(journal_.get(), "actor"), session_.text());
}

TEST_F(RedisJournalTest, EndsASessionUnderAKeyOfAnotherType) {
  server_.Run({"SET", "stepd:policy:actor", "somebody else's"});

  ASSERT_TRUE(AppendOne(journal_.get(), session_.Erase()).ok());

  EXPECT_EQ(ReadText(journal_.get(), "actor"), "none");
}

TEST_F(RedisJournalTest, RefusesAFlippedRecord) {
  ASSERT_TRUE(Advance(journal_.get(), &session_, 1));
  ASSERT_TRUE(Advance(journal_.get(), &session_, 1));
  std::string record = server_.Run({"HGET", "stepd:policy:actor", "1"})[0];
  record[record.size() / 2] = static_cast<char>(record[record.size() / 2] ^ 4);
  server_.Run({"HSET", "stepd:policy:actor", "1", record});

  EXPECT_EQ(journal_->Read("actor", kInfiniteFuture).status().code(),
            absl::StatusCode::kDataLoss);
}

TEST_F(RedisJournalTest, DoesNotMindARestartOfTheServer) {
  ASSERT_TRUE(Advance(journal_.get(), &session_, 1));
  server_.Stop();
  server_.Start();

  EXPECT_TRUE(Advance(journal_.get(), &session_, 1));

  EXPECT_EQ(ReadText(journal_.get(), "actor"), session_.text());
}

TEST_F(RedisJournalTest, DoesNotMindAServerThatForgetsItsScripts) {
  ASSERT_TRUE(Advance(journal_.get(), &session_, 1));
  server_.Run({"SCRIPT", "FLUSH"});

  EXPECT_TRUE(Advance(journal_.get(), &session_, 1));
}

TEST_F(RedisJournalTest, FailsInTimeWithoutAServerAndGoesOnWithOne) {
  ASSERT_TRUE(Advance(journal_.get(), &session_, 1));
  server_.Stop();
  const MonotonicTime deadline = In(std::chrono::seconds(5));

  const auto outcome =
      AppendOne(journal_.get(), session_.NewSteps(1), deadline);
  const auto read = journal_->Read("actor", deadline);

  EXPECT_LT(std::chrono::steady_clock::now(), deadline);
  EXPECT_EQ(outcome.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(outcome.status()), reason::kJournal);
  EXPECT_EQ(read.status().code(), absl::StatusCode::kUnavailable);
  server_.Start();
  while (!Advance(journal_.get(), &session_, 1)) {
    std::this_thread::yield();
  }
  EXPECT_EQ(ReadText(journal_.get(), "actor"), session_.text());
}

TEST_F(RedisJournalTest, FailsInTimeWhenTheServerHangs) {
  ASSERT_TRUE(Advance(journal_.get(), &session_, 1));
  server_.Pause();

  const auto outcome = AppendOne(journal_.get(), session_.NewSteps(1),
                                 In(std::chrono::milliseconds(50)));

  EXPECT_EQ(outcome.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(absl::StrContains(outcome.status().message(), "in time"))
      << outcome.status();
  server_.Continue();
  while (!Advance(journal_.get(), &session_, 2)) {
    std::this_thread::yield();
  }
  EXPECT_EQ(ReadText(journal_.get(), "actor"), session_.text());
}

TEST_F(RedisJournalTest, RefusesItsOwnCallThatArrivesLate) {
  HoldingProxy proxy(folder_->path() + "/proxy.sock", server_.socket());
  const auto journal = Connect("unix:" + folder_->path() + "/proxy.sock");
  ASSERT_TRUE(Advance(journal.get(), &session_, 1));
  proxy.Hold();
  EXPECT_FALSE(AppendOne(journal.get(), session_.NewSteps(2, "late "),
                         In(std::chrono::milliseconds(20)))
                   .ok());
  proxy.AwaitHeld();
  ASSERT_TRUE(Advance(journal.get(), &session_, 1));

  proxy.Release();

  EXPECT_EQ(ReadText(journal.get(), "actor"), session_.text());
  EXPECT_TRUE(Advance(journal.get(), &session_, 1));
}

TEST_F(RedisJournalTest, RefusesACallThatArrivesAfterTheSessionsEnd) {
  HoldingProxy proxy(folder_->path() + "/proxy.sock", server_.socket());
  const auto journal = Connect("unix:" + folder_->path() + "/proxy.sock");
  ReadText(journal.get(), "actor");
  proxy.Hold();
  EXPECT_FALSE(AppendOne(journal.get(), session_.NewSteps(1),
                         In(std::chrono::milliseconds(20)))
                   .ok());
  proxy.AwaitHeld();
  ASSERT_TRUE(AppendOne(journal.get(), session_.Erase()).ok());

  proxy.Release();

  EXPECT_EQ(ReadText(journal.get(), "actor"), "none");
}

TEST_F(RedisJournalTest, KeepsNoMoreThanTheContext) {
  for (std::uint64_t i = 0; i < 100; ++i) {
    if (i >= 8) session_.SetFirstStep(i - 7);
    ASSERT_TRUE(Advance(journal_.get(), &session_, 1));
  }

  // A name and a value for each step, and for o, q, n and w.
  EXPECT_EQ(server_.Run({"HGETALL", "stepd:policy:actor"}).size(), 2U * 12);
}

TEST_F(RedisJournalTest, LetsSessionsExpire) {
  const auto journal = Connect(server_.address(), absl::Minutes(10));
  ASSERT_TRUE(Advance(journal.get(), &session_, 1));
  const auto left = [this] {
    std::int64_t milliseconds = 0;
    const auto text = server_.Run(
        {"EVAL", "return tostring(redis.call('PTTL', 'stepd:policy:actor'))",
         "0"});
    EXPECT_TRUE(absl::SimpleAtoi(text[0], &milliseconds));
    return milliseconds;
  };

  EXPECT_GT(left(), 590000);
  EXPECT_LE(left(), 600000);
  server_.Run({"EVAL",
               "return tostring(redis.call('PEXPIRE', 'stepd:policy:actor', "
               "1000))",
               "0"});
  ASSERT_TRUE(Advance(journal.get(), &session_, 1));
  EXPECT_GT(left(), 590000);
  ASSERT_TRUE(AppendOne(journal.get(), session_.Erase()).ok());
  EXPECT_GT(left(), 0);
}

TEST_F(RedisJournalTest, SaysWhyTheServerRefuses) {
  ASSERT_TRUE(Advance(journal_.get(), &session_, 1));
  server_.Run({"CONFIG", "SET", "maxmemory", "1"});

  const auto outcome = AppendOne(journal_.get(), session_.NewSteps(1));

  EXPECT_EQ(outcome.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(absl::StrContains(outcome.status().message(), "maxmemory"))
      << outcome.status();
  server_.Run({"CONFIG", "SET", "maxmemory", "0"});
  EXPECT_TRUE(Advance(journal_.get(), &session_, 1));
}

TEST_F(RedisJournalTest, LogsInWithThePassword) {
  server_.Run({"CONFIG", "SET", "requirepass", "secret"});
  RedisJournalOptions options;
  options.address = server_.address();
  options.name = "policy";
  const auto without = MakeRedisJournal(options);
  options.password = "secret";
  const auto with = MakeRedisJournal(options);

  const auto refused = (*without)->Read("actor", kInfiniteFuture);
  EXPECT_TRUE(absl::StrContains(refused.status().message(), "NOAUTH"))
      << refused.status();
  EXPECT_TRUE(Advance(with->get(), &session_, 1));
}

}  // namespace
}  // namespace stepd
