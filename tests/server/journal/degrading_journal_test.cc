// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/journal/degrading_journal.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "server/common/mutex.h"
#include "tests/server/journal/recording_events.h"
#include "tests/server/journal/some_session.h"

namespace stepd {
namespace {

// Which sessions there are, by their number of steps; fails when told to.
//
// Thread safety: thread-safe.
class FailingJournal final : public Journal {
 public:
  absl::StatusOr<std::vector<JournalOutcome>> Append(
      absl::Span<const JournalEntry> entries,
      MonotonicTime /*deadline*/) override {
    MutexLock lock(&mu_);
    if (is_failing_) return absl::UnavailableError("disk full");
    for (const JournalEntry& entry : entries) {
      if (const auto* steps = std::get_if<JournalSteps>(&entry)) {
        sessions_[std::string(steps->actor_id)] =
            steps->step_index + steps->steps->size();
      } else if (const auto* whole = std::get_if<JournalReplace>(&entry)) {
        sessions_[whole->record->actor_id] = whole->record->num_steps();
      } else {
        sessions_.erase(std::string(std::get<JournalErase>(entry).actor_id));
      }
    }
    return std::vector<JournalOutcome>(entries.size());
  }

  absl::StatusOr<std::optional<SessionRecord>> Read(
      absl::string_view actor_id, MonotonicTime /*deadline*/) override {
    MutexLock lock(&mu_);
    if (is_failing_) return absl::UnavailableError("disk full");
    if (actor_id == "damaged") return absl::DataLossError("torn");
    if (sessions_.find(std::string(actor_id)) == sessions_.end()) {
      return std::nullopt;
    }
    SessionRecord record;
    record.actor_id = std::string(actor_id);
    return record;
  }

  void SetFailing(bool is_failing) {
    MutexLock lock(&mu_);
    is_failing_ = is_failing;
  }
  std::map<std::string, std::uint64_t> sessions() {
    MutexLock lock(&mu_);
    return sessions_;
  }

 private:
  Mutex mu_;
  bool is_failing_ ABSL_GUARDED_BY(mu_) = false;
  std::map<std::string, std::uint64_t> sessions_ ABSL_GUARDED_BY(mu_);
};

using Sessions = std::map<std::string, std::uint64_t>;

class DegradingJournalTest : public testing::Test {
 protected:
  DegradingJournalTest() {
    auto below = std::make_unique<FailingJournal>();
    below_ = below.get();
    journal_ = std::make_unique<DegradingJournal>(std::move(below), &events_);
  }

  RecordingEvents events_;
  FailingJournal* below_;
  std::unique_ptr<DegradingJournal> journal_;
};

TEST_F(DegradingJournalTest, PassesEverythingOnWhileAllIsWell) {
  SomeSession session("actor");

  EXPECT_TRUE(Advance(journal_.get(), &session, 2));

  EXPECT_EQ(below_->sessions(), (Sessions{{"actor", 2}}));
  EXPECT_EQ(Text(journal_->Read("actor", kInfiniteFuture)).substr(0, 5),
            "actor");
  EXPECT_EQ(journal_->Read("damaged", kInfiniteFuture).status().code(),
            absl::StatusCode::kDataLoss);
  EXPECT_TRUE(events_.degraded().empty());
}

TEST_F(DegradingJournalTest, GoesOnWithoutTheJournalThatFails) {
  SomeSession session("actor");
  ASSERT_TRUE(Advance(journal_.get(), &session, 2));
  below_->SetFailing(true);

  EXPECT_TRUE(Advance(journal_.get(), &session, 2));
  EXPECT_TRUE(Advance(journal_.get(), &session, 2));

  EXPECT_EQ(ReadText(journal_.get(), "actor"), "none");
  EXPECT_EQ(events_.degraded(), std::vector<bool>{true});
}

TEST_F(DegradingJournalTest, DegradesWhenItCannotBeAsked) {
  below_->SetFailing(true);

  EXPECT_EQ(ReadText(journal_.get(), "actor"), "none");

  EXPECT_EQ(events_.degraded(), std::vector<bool>{true});
}

TEST_F(DegradingJournalTest, MakesGoodWhatWasMissedWhenTheJournalIsBack) {
  SomeSession lives("lives");
  SomeSession ends("ends");
  SomeSession untouched("untouched");
  for (SomeSession* session : {&lives, &ends, &untouched}) {
    ASSERT_TRUE(Advance(journal_.get(), session, 1));
  }
  below_->SetFailing(true);
  ASSERT_TRUE(Advance(journal_.get(), &lives, 1));
  ASSERT_TRUE(AppendOne(journal_.get(), ends.Erase()).ok());

  below_->SetFailing(false);
  events_.AwaitDegraded(false);

  EXPECT_EQ(below_->sessions(), (Sessions{{"lives", 1}, {"untouched", 1}}));
  EXPECT_EQ(*AppendOne(journal_.get(), lives.NewSteps(1)),
            JournalOutcome::kBehind);
  lives.Commit();
  EXPECT_EQ(*AppendOne(journal_.get(), lives.Whole()),
            JournalOutcome::kWritten);
  EXPECT_TRUE(Advance(journal_.get(), &lives, 1));
  EXPECT_TRUE(Advance(journal_.get(), &untouched, 1));
  EXPECT_EQ(below_->sessions(), (Sessions{{"lives", 4}, {"untouched", 2}}));
}

TEST_F(DegradingJournalTest, TellsWhoIsBehindFromTheirNeighbours) {
  SomeSession behind("behind");
  SomeSession fine("fine");
  ASSERT_TRUE(Advance(journal_.get(), &behind, 1));
  below_->SetFailing(true);
  ASSERT_TRUE(Advance(journal_.get(), &behind, 1));
  below_->SetFailing(false);
  events_.AwaitDegraded(false);

  const std::vector<JournalEntry> entries = {behind.NewSteps(1),
                                             fine.NewSteps(1)};
  const auto outcomes = journal_->Append(entries, kInfiniteFuture);

  EXPECT_EQ(*outcomes, (std::vector<JournalOutcome>{JournalOutcome::kBehind,
                                                    JournalOutcome::kWritten}));
  EXPECT_EQ(below_->sessions(), (Sessions{{"behind", 1}, {"fine", 1}}));
}

}  // namespace
}  // namespace stepd
