// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// An engine that ends just before or just after it wrote to a journal in
// RocksDB, and the engine that comes after it: no acknowledged step is lost, no
// answer has other bits than its actor alone would have got.

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/engine/engine.h"
#include "server/engine/journal.h"
#include "server/journal/rocksdb_journal.h"
#include "tests/fakes/fake_policy.h"
#include "tests/fakes/fake_task.h"
#include "tests/fakes/recording_observer.h"
#include "tests/server/journal/recording_events.h"
#include "tests/server/journal/temporary_folder.h"

namespace stepd {
namespace {

enum class CrashPoint { kBeforeAppend, kAfterAppend };

// Passes calls on until its process "ends" at some append: nothing that comes
// later reaches the journal, and that append is not known to have succeeded.
//
// Thread safety: thread-safe.
class CrashingJournal final : public Journal {
 public:
  CrashingJournal(std::unique_ptr<Journal> journal, int num_appends,
                  CrashPoint point)
      : journal_(std::move(journal)), num_left_(num_appends), point_(point) {}

  absl::StatusOr<std::vector<JournalOutcome>> Append(
      absl::Span<const JournalEntry> entries, MonotonicTime deadline) override {
    const int left = --num_left_;
    if (left > 0 || (left == 0 && point_ == CrashPoint::kAfterAppend)) {
      auto outcomes = journal_->Append(entries, deadline);
      if (left > 0) return outcomes;
    }
    return absl::UnavailableError("crashed");
  }

  absl::StatusOr<std::optional<SessionRecord>> Read(
      absl::string_view actor_id, MonotonicTime deadline) override {
    if (num_left_ <= 0) return absl::UnavailableError("crashed");
    return journal_->Read(actor_id, deadline);
  }

  bool has_crashed() const { return num_left_ <= 0; }

 private:
  const std::unique_ptr<Journal> journal_;
  std::atomic<int> num_left_;
  const CrashPoint point_;
};

// What an actor sends next, until it is answered.
struct Pending {
  std::vector<std::int64_t> xs;
  StepReply want;
};

class CrashTest : public testing::TestWithParam<CrashPoint> {
 protected:
  CrashTest() {
    options_.num_executors = 2;
    options_.cache_bytes = 2 * 64 * 4;  // 64 blocks each
    options_.context.max_steps = 12;
    options_.context.keep_steps = 6;
    for (int i = 0; i < 6; ++i) {
      actors_.emplace_back(absl::StrCat("actor-", i), policy_->options(),
                           options_.context);
      pending_.push_back(Next(i));
    }
  }

  Pending Next(int actor) {
    Pending next;
    next.xs.resize(1 + random_() % 3);
    for (std::int64_t& x : next.xs) {
      x = static_cast<std::int64_t>(random_() % 1000);
    }
    next.want = actors_[static_cast<std::size_t>(actor)].Step(next.xs);
    return next;
  }

  StepTask TaskOf(int actor, Answer* answer) {
    const Pending& pending = pending_[static_cast<std::size_t>(actor)];
    StepTask task = MakeFakeTask(absl::StrCat("actor-", actor), pending.xs,
                                 policy_->options(), answer);
    task.step_index = pending.want.step_index - pending.xs.size();
    task.epoch = 1;
    return task;
  }

  // Until the crash; the number of steps that were answered.
  int LiveUntilCrash(int num_appends) {
    RocksDbJournalOptions journal_options;
    journal_options.path = folder_.path() + "/journal";
    auto opened = OpenRocksDbJournal(journal_options, &events_);
    EXPECT_TRUE(opened.ok()) << opened.status();
    CrashingJournal journal(*std::move(opened), num_appends, GetParam());
    options_.journal = &journal;
    auto engine = Engine::Create(policy_, options_, &observer_);
    EXPECT_TRUE(engine.ok()) << engine.status();
    int num_answered = 0;
    while (!journal.has_crashed()) {
      std::vector<Answer> answers(actors_.size());
      for (int i = 0; i < static_cast<int>(actors_.size()); ++i) {
        EXPECT_TRUE(
            (*engine)
                ->Submit(TaskOf(i, &answers[static_cast<std::size_t>(i)]))
                .ok());
      }
      for (int i = 0; i < static_cast<int>(actors_.size()); ++i) {
        const auto reply = answers[static_cast<std::size_t>(i)].Wait();
        if (!reply.ok()) continue;
        Pending& pending = pending_[static_cast<std::size_t>(i)];
        EXPECT_EQ(*reply, pending.want);
        pending = Next(i);
        ++num_answered;
      }
    }
    return num_answered;
  }

  std::mt19937 random_{1};
  TemporaryFolder folder_;
  RecordingEvents events_;
  RecordingObserver observer_;
  std::shared_ptr<FakePolicy> policy_ = std::make_shared<FakePolicy>();
  EngineOptions options_;
  std::vector<ReplayedActor> actors_;
  std::vector<Pending> pending_;
};

INSTANTIATE_TEST_SUITE_P(Every, CrashTest,
                         testing::Values(CrashPoint::kBeforeAppend,
                                         CrashPoint::kAfterAppend),
                         [](const auto& point) {
                           return point.param == CrashPoint::kBeforeAppend
                                      ? "BeforeAppend"
                                      : "AfterAppend";
                         });

TEST_P(CrashTest, LosesAndChangesNothing) {
  int num_answered = 0;
  for (int i = 0; i < 40; ++i) {
    num_answered += LiveUntilCrash(1 + static_cast<int>(random_() % 20));
  }

  EXPECT_GT(num_answered, 200);
  EXPECT_TRUE(policy_->violations().empty());
}

}  // namespace
}  // namespace stepd
