// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What holds for every journal (server/engine/journal.h).

#include "server/engine/journal.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/journal/redis_journal.h"
#include "server/journal/rocksdb_journal.h"
#include "tests/server/journal/recording_events.h"
#include "tests/server/journal/redis_server.h"
#include "tests/server/journal/some_session.h"
#include "tools/bench_cc/temporary_folder.h"

namespace stepd {
namespace {

constexpr std::uint64_t kFields = 42;

// Where journals are, and who opens them one after another.
class Store {
 public:
  virtual ~Store() = default;
  virtual std::unique_ptr<Journal> Open(std::uint64_t fields) = 0;
};

class RocksDbStore final : public Store {
 public:
  std::unique_ptr<Journal> Open(std::uint64_t fields) override {
    RocksDbJournalOptions options;
    options.path = folder_->path() + "/journal";
    options.fields = fields;
    auto journal = OpenRocksDbJournal(options, &events_);
    EXPECT_TRUE(journal.ok()) << journal.status();
    return *std::move(journal);
  }

 private:
  const std::unique_ptr<bench::TemporaryFolder> folder_ =
      bench::TemporaryFolder::Create().value();
  RecordingEvents events_;
};

class RedisStore final : public Store {
 public:
  std::unique_ptr<Journal> Open(std::uint64_t fields) override {
    RedisJournalOptions options;
    options.address = server_.address();
    options.name = "policy";
    options.fields = fields;
    auto journal = MakeRedisJournal(options);
    EXPECT_TRUE(journal.ok()) << journal.status();
    return *std::move(journal);
  }

 private:
  const std::unique_ptr<bench::TemporaryFolder> folder_ =
      bench::TemporaryFolder::Create().value();
  RedisServer server_{folder_->path()};
};

struct StoreKind {
  std::string name;
  std::function<std::unique_ptr<Store>()> make;
};

class JournalTest : public testing::TestWithParam<StoreKind> {
 protected:
  // As after a restart of the daemon.
  void Reopen(std::uint64_t fields = kFields) {
    journal_.reset();
    journal_ = store_->Open(fields);
  }

  std::unique_ptr<Store> store_ = GetParam().make();
  std::unique_ptr<Journal> journal_ = store_->Open(kFields);
};

INSTANTIATE_TEST_SUITE_P(
    Journal, JournalTest,
    testing::Values(
        StoreKind{"RocksDb", [] { return std::make_unique<RocksDbStore>(); }},
        StoreKind{"Redis", [] { return std::make_unique<RedisStore>(); }}),
    [](const auto& kind) { return kind.param.name; });

TEST_P(JournalTest, HasNoSessionOfAnActorThatItNeverSaw) {
  EXPECT_EQ(ReadText(journal_.get(), "stranger"), "none");
}

TEST_P(JournalTest, GivesASessionBackAfterARestart) {
  SomeSession session("actor", "image");
  ASSERT_TRUE(Advance(journal_.get(), &session, 1));
  ASSERT_TRUE(Advance(journal_.get(), &session, 3));

  Reopen();

  EXPECT_EQ(ReadText(journal_.get(), "actor"), session.text());
}

TEST_P(JournalTest, GoesOnWithASessionThatItGaveBack) {
  SomeSession session("actor", "image");
  ASSERT_TRUE(Advance(journal_.get(), &session, 2));
  Reopen();
  ReadText(journal_.get(), "actor");

  EXPECT_TRUE(Advance(journal_.get(), &session, 2));

  EXPECT_EQ(ReadText(journal_.get(), "actor"), session.text());
}

TEST_P(JournalTest, WritesAllEntriesOfAnAppend) {
  std::vector<SomeSession> sessions;
  std::vector<JournalEntry> entries;
  sessions.reserve(64);
  for (int i = 0; i < 64; ++i) {
    sessions.emplace_back(absl::StrCat("actor-", i));
    entries.push_back(sessions.back().NewSteps(1));
  }

  const auto outcomes = journal_->Append(entries, kInfiniteFuture);

  ASSERT_TRUE(outcomes.ok()) << outcomes.status();
  EXPECT_EQ(*outcomes, std::vector<JournalOutcome>(64));
  for (SomeSession& session : sessions) {
    session.Commit();
    EXPECT_EQ(ReadText(journal_.get(), session.actor_id()), session.text());
  }
}

TEST_P(JournalTest, TakesAnEmptyAppend) {
  const auto outcomes = journal_->Append({}, kInfiniteFuture);

  ASSERT_TRUE(outcomes.ok());
  EXPECT_TRUE(outcomes->empty());
}

TEST_P(JournalTest, KeepsActorsApartWhateverTheirNames) {
  const std::vector<std::string> names = {
      "a",        "ab", "a:", std::string("a\0S", 3),
      "\xff\xff", "S",  "I",  std::string(256, 'x'),
      "\xc3\xa4"};
  std::vector<SomeSession> sessions;
  for (const std::string& name : names) {
    sessions.emplace_back(name, "inputs of " + name);
    ASSERT_TRUE(Advance(journal_.get(), &sessions.back(), 1));
  }
  ASSERT_TRUE(AppendOne(journal_.get(), sessions[1].Erase()).ok());

  for (std::size_t i = 0; i < names.size(); ++i) {
    EXPECT_EQ(ReadText(journal_.get(), names[i]),
              i == 1 ? "none" : sessions[i].text());
  }
}

TEST_P(JournalTest, ForgetsStepsBeforeTheContextButNotTheInputs) {
  SomeSession session("actor", "image");
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(Advance(journal_.get(), &session, 2));
  }
  session.SetFirstStep(7);  // in the middle of a task
  ASSERT_TRUE(Advance(journal_.get(), &session, 1));
  EXPECT_EQ(ReadText(journal_.get(), "actor"), session.text());
  session.SetFirstStep(12);
  ASSERT_TRUE(Advance(journal_.get(), &session, 2));

  Reopen();

  EXPECT_EQ(session.record().first_step, 12U);
  EXPECT_EQ(ReadText(journal_.get(), "actor"), session.text());
}

TEST_P(JournalTest, HasNothingOfAnErasedSession) {
  SomeSession session("actor", "image");
  ASSERT_TRUE(Advance(journal_.get(), &session, 3));

  const auto outcome = AppendOne(journal_.get(), session.Erase());

  EXPECT_EQ(*outcome, JournalOutcome::kWritten);
  EXPECT_EQ(ReadText(journal_.get(), "actor"), "none");
  Reopen();
  EXPECT_EQ(ReadText(journal_.get(), "actor"), "none");
}

TEST_P(JournalTest, BeginsASessionAnewWithAnotherEpoch) {
  SomeSession old("actor", "old image");
  ASSERT_TRUE(Advance(journal_.get(), &old, 5));
  ASSERT_TRUE(AppendOne(journal_.get(), old.Erase()).ok());
  SomeSession anew("actor", "", 2);

  ASSERT_TRUE(Advance(journal_.get(), &anew, 2));

  EXPECT_EQ(ReadText(journal_.get(), "actor"), anew.text());
}

TEST_P(JournalTest, ReplacesAWholeSession) {
  SomeSession old("actor", "old image");
  ASSERT_TRUE(Advance(journal_.get(), &old, 9));
  SomeSession other("actor", "", 7);
  other.NewSteps(4);
  other.Commit();
  other.SetFirstStep(2);
  other.NewSteps(1);
  other.Commit();

  EXPECT_EQ(*AppendOne(journal_.get(), other.Whole()),
            JournalOutcome::kWritten);

  EXPECT_EQ(ReadText(journal_.get(), "actor"), other.text());
  EXPECT_TRUE(Advance(journal_.get(), &other, 1));
  EXPECT_EQ(ReadText(journal_.get(), "actor"), other.text());
}

TEST_P(JournalTest, WritesNothingThatWouldLeaveAGap) {
  SomeSession session("actor");
  session.NewSteps(3);
  session.Commit();
  SomeSession neighbour("neighbour");
  const std::vector<JournalEntry> entries = {session.NewSteps(1),
                                             neighbour.NewSteps(1)};

  const auto outcomes = journal_->Append(entries, kInfiniteFuture);

  ASSERT_TRUE(outcomes.ok()) << outcomes.status();
  EXPECT_EQ(outcomes->at(0), JournalOutcome::kBehind);
  EXPECT_EQ(outcomes->at(1), JournalOutcome::kWritten);
  EXPECT_EQ(ReadText(journal_.get(), "actor"), "none");

  session.Commit();
  EXPECT_EQ(*AppendOne(journal_.get(), session.Whole()),
            JournalOutcome::kWritten);
  EXPECT_EQ(ReadText(journal_.get(), "actor"), session.text());
}

TEST_P(JournalTest, RefusesASessionThatWasWrittenForOtherFields) {
  SomeSession session("actor");
  ASSERT_TRUE(Advance(journal_.get(), &session, 1));
  Reopen(kFields + 1);

  const auto read = journal_->Read("actor", kInfiniteFuture);

  EXPECT_EQ(read.status().code(), absl::StatusCode::kDataLoss);
  ASSERT_TRUE(AppendOne(journal_.get(), session.Erase()).ok());
  EXPECT_EQ(ReadText(journal_.get(), "actor"), "none");
}

// Some of these are written although nobody is told, some are not.
TEST_P(JournalTest, PutsStepsInThePlaceOfOnesThatWereGivenUp) {
  SomeSession session("actor");
  ASSERT_TRUE(Advance(journal_.get(), &session, 1));
  std::mt19937 random(1);
  for (int i = 0; i < 500; ++i) {
    const auto patience = std::chrono::microseconds(random() % 60);
    const auto given_up =
        AppendOne(journal_.get(), session.NewSteps(3, "given up "),
                  std::chrono::steady_clock::now() + patience);
    if (given_up.ok()) {
      session.Commit();
    } else {
      EXPECT_EQ(given_up.status().code(), absl::StatusCode::kUnavailable);
    }
    ASSERT_TRUE(Advance(journal_.get(), &session, 1)) << i;
    if (i % 50 == 0) {
      ASSERT_EQ(ReadText(journal_.get(), "actor"), session.text()) << i;
    }
  }

  Reopen();

  EXPECT_EQ(ReadText(journal_.get(), "actor"), session.text());
}

// One actor's life at random; true: it and the journal agreed all along.
bool LiveAtRandom(Journal* journal, SomeSession* session, unsigned seed) {
  std::mt19937 random(seed);
  bool is_open = false;
  std::uint64_t epoch = 1;
  for (int i = 0; i < 300; ++i) {
    const auto dice = random() % 20;
    if (dice == 0) {
      if (!AppendOne(journal, session->Erase()).ok()) return false;
      *session =
          SomeSession(session->actor_id(), absl::StrCat("image ", i), ++epoch);
      is_open = false;
    } else if (dice == 1 && is_open) {
      if (!AppendOne(journal, session->Whole()).ok()) return false;
    } else if (dice == 2 && is_open) {
      session->SetFirstStep(session->record().first_step +
                            random() % (session->record().steps.size() + 1));
    } else if (dice == 3) {
      const std::string want = is_open ? session->text() : "none";
      if (ReadText(journal, session->actor_id()) != want) return false;
    } else {
      if (!Advance(journal, session, 1 + random() % 3)) return false;
      is_open = true;
    }
  }
  return is_open || Advance(journal, session, 1);
}

TEST_P(JournalTest, AgreesWithManyActorsAtATimeOnTheirSessions) {
  constexpr int kNumThreads = 4;
  constexpr int kActorsPerThread = 5;
  std::vector<SomeSession> sessions;
  for (int i = 0; i < kNumThreads * kActorsPerThread; ++i) {
    sessions.emplace_back(absl::StrCat("actor-", i));
  }
  std::vector<std::thread> threads;
  std::vector<int> num_agreed(kNumThreads);
  for (int t = 0; t < kNumThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = t; i < kNumThreads * kActorsPerThread; i += kNumThreads) {
        num_agreed[t] += LiveAtRandom(journal_.get(), &sessions[i], i) ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();

  EXPECT_EQ(num_agreed, std::vector<int>(kNumThreads, kActorsPerThread));
  Reopen();
  for (const SomeSession& session : sessions) {
    EXPECT_EQ(ReadText(journal_.get(), session.actor_id()), session.text());
  }
}

}  // namespace
}  // namespace stepd
