// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// An engine that ends just before or just after it wrote to a journal in
// RocksDB, in the middle of a batch, or while its weights are swapped; and the
// engine that comes after it: no acknowledged step is lost, no answer has other
// bits than its actor alone would have got.

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/policy.h"
#include "server/engine/engine.h"
#include "server/engine/journal.h"
#include "server/engine/served_version.h"
#include "server/journal/rocksdb_journal.h"
#include "tests/fakes/fake_policy.h"
#include "tests/fakes/fake_task.h"
#include "tests/fakes/recording_observer.h"
#include "tests/server/journal/recording_events.h"
#include "tools/bench_cc/temporary_folder.h"

namespace stepd {
namespace {

enum class CrashPoint { kBeforeAppend, kAfterAppend, kMidBatch, kMidSwap };

std::string NameOf(CrashPoint point) {
  static constexpr const char* kNames[] = {"BeforeAppend", "AfterAppend",
                                           "MidBatch", "MidSwap"};
  return kNames[static_cast<int>(point)];
}

// Ends "the process" when it has come by a point so many times: nothing that
// comes later reaches the journal, and what is under way is not known to have
// succeeded.
//
// Thread safety: thread-safe.
class Crash {
 public:
  Crash(CrashPoint point, int count) : point_(point), num_left_(count) {}

  void ComeBy(CrashPoint point) {
    if (point == point_) --num_left_;
  }
  bool has_happened() const { return num_left_ <= 0; }

 private:
  const CrashPoint point_;
  std::atomic<int> num_left_;
};

// Thread safety: thread-safe.
class CrashingJournal final : public Journal {
 public:
  CrashingJournal(std::unique_ptr<Journal> journal, Crash* crash)
      : journal_(std::move(journal)), crash_(*crash) {}

  absl::StatusOr<std::vector<JournalOutcome>> Append(
      absl::Span<const JournalEntry> entries, MonotonicTime deadline) override {
    crash_.ComeBy(CrashPoint::kBeforeAppend);
    if (crash_.has_happened()) return absl::UnavailableError("crashed");
    auto outcomes = journal_->Append(entries, deadline);
    crash_.ComeBy(CrashPoint::kAfterAppend);
    if (crash_.has_happened()) return absl::UnavailableError("crashed");
    return outcomes;
  }

  absl::StatusOr<std::optional<SessionRecord>> Read(
      absl::string_view actor_id, MonotonicTime deadline) override {
    if (crash_.has_happened()) return absl::UnavailableError("crashed");
    return journal_->Read(actor_id, deadline);
  }

 private:
  const std::unique_ptr<Journal> journal_;
  Crash& crash_;
};

class CrashingRunner final : public PolicyRunner {
 public:
  CrashingRunner(std::unique_ptr<PolicyRunner> runner, bool is_swapped_in,
                 Crash* crash)
      : runner_(std::move(runner)), is_new_(is_swapped_in), crash_(*crash) {}

  absl::Status Forward(const StepBatch& batch, StepResult* result) override {
    crash_.ComeBy(CrashPoint::kMidBatch);
    // Some executors have the new weights, and others not yet.
    if (std::exchange(is_new_, false)) crash_.ComeBy(CrashPoint::kMidSwap);
    return runner_->Forward(batch, result);
  }
  void CopyBlock(std::int32_t from, std::int32_t to) override {
    runner_->CopyBlock(from, to);
  }
  std::shared_ptr<KvMemory> kv_memory() const override {
    return runner_->kv_memory();
  }

 private:
  const std::unique_ptr<PolicyRunner> runner_;
  bool is_new_;
  Crash& crash_;
};

FakePolicyOptions OptionsOf(std::uint64_t version) {
  FakePolicyOptions options;
  options.weights = version;
  return options;
}

class CrashingPolicy final : public Policy {
 public:
  // `is_swapped_in`: the engine begins with another one.
  CrashingPolicy(std::uint64_t version, bool is_swapped_in, Crash* crash)
      : policy_(OptionsOf(version)),
        is_swapped_in_(is_swapped_in),
        crash_(*crash) {}
  ~CrashingPolicy() override { EXPECT_TRUE(policy_.violations().empty()); }

  const PolicySpec& spec() const override { return policy_.spec(); }
  absl::StatusOr<int> CountTokens(absl::string_view step) const override {
    return policy_.CountTokens(step);
  }
  absl::StatusOr<std::unique_ptr<PolicyRunner>> CreateRunner(
      const RunnerOptions& options) const override {
    if (is_swapped_in_) crash_.ComeBy(CrashPoint::kMidSwap);
    auto runner = policy_.CreateRunner(options);
    if (!runner.ok()) return runner.status();
    return std::make_unique<CrashingRunner>(*std::move(runner), is_swapped_in_,
                                            &crash_);
  }

 private:
  const FakePolicy policy_;
  const bool is_swapped_in_;
  Crash& crash_;
};

// An actor, and what it sends next, until it is answered.
struct Actor {
  std::string id;
  std::vector<std::int64_t> answered;  // its steps
  std::vector<std::int64_t> next;
};

class CrashTest : public testing::TestWithParam<CrashPoint> {
 protected:
  CrashTest() {
    options_.num_executors = 2;
    options_.cache_bytes = 2 * 64 * 4;  // 64 blocks each
    options_.context.max_steps = 12;
    options_.context.keep_steps = 6;
    for (int i = 0; i < 6; ++i) {
      actors_.push_back({absl::StrCat("actor-", i), {}, NextSteps()});
    }
  }

  std::vector<std::int64_t> NextSteps() {
    std::vector<std::int64_t> xs(1 + random_() % 3);
    for (std::int64_t& x : xs) x = static_cast<std::int64_t>(random_() % 1000);
    return xs;
  }

  StepTask TaskOf(const Actor& actor, Answer* answer) {
    StepTask task =
        MakeFakeTask(actor.id, actor.next, OptionsOf(version_), answer);
    task.step_index = actor.answered.size();
    task.epoch = 1;
    return task;
  }

  // What the actor alone is answered under this version: a context is of one.
  StepReply Want(const Actor& actor, std::uint64_t version) const {
    ReplayedActor replayed(actor.id, OptionsOf(version), options_.context);
    if (!actor.answered.empty()) replayed.Step(actor.answered);
    return replayed.Step(actor.next);
  }

  std::unique_ptr<Engine> MakeEngine(CrashingJournal* journal, Crash* crash) {
    options_.journal = journal;
    auto engine = Engine::Create(Version(/*is_swapped_in=*/false, crash),
                                 options_, &observer_);
    EXPECT_TRUE(engine.ok()) << engine.status();
    return *std::move(engine);
  }
  std::shared_ptr<ServedVersion> Version(bool is_swapped_in, Crash* crash) {
    return std::make_shared<ServedVersion>(
        version_,
        std::make_shared<CrashingPolicy>(version_, is_swapped_in, crash));
  }
  void Swap(Engine* engine, Crash* crash) {
    ++version_;
    Rollout rollout;
    rollout.stable = version_;
    rollout.versions = {Version(/*is_swapped_in=*/true, crash)};
    EXPECT_TRUE(engine->RollOut(rollout).ok());
  }

  // Until the crash; the number of steps that were answered.
  int LiveUntilCrash(int count) {
    Crash crash(GetParam(), count);
    RocksDbJournalOptions journal_options;
    journal_options.path = folder_->path() + "/journal";
    auto opened = OpenRocksDbJournal(journal_options, &events_);
    EXPECT_TRUE(opened.ok()) << opened.status();
    CrashingJournal journal(*std::move(opened), &crash);
    const auto engine = MakeEngine(&journal, &crash);
    int num_answered = 0;
    while (!crash.has_happened()) {
      std::vector<Answer> answers(actors_.size());
      for (std::size_t i = 0; i < actors_.size(); ++i) {
        EXPECT_TRUE(engine->Submit(TaskOf(actors_[i], &answers[i])).ok());
      }
      if (random_() % 4 == 0) Swap(engine.get(), &crash);
      for (std::size_t i = 0; i < actors_.size(); ++i) {
        num_answered += Check(answers[i].Wait(), &actors_[i]) ? 1 : 0;
      }
    }
    return num_answered;
  }

  // False: the step was not answered, and comes again.
  bool Check(const absl::StatusOr<StepReply>& reply, Actor* actor) {
    if (!reply.ok()) return false;
    EXPECT_EQ(*reply, Want(*actor, reply->model_version));
    actor->answered.insert(actor->answered.end(), actor->next.begin(),
                           actor->next.end());
    actor->next = NextSteps();
    return true;
  }

  std::mt19937 random_{1};
  const std::unique_ptr<bench::TemporaryFolder> folder_ =
      bench::TemporaryFolder::Create().value();
  RecordingEvents events_;
  RecordingObserver observer_;
  EngineOptions options_;
  std::uint64_t version_ = 1;
  std::vector<Actor> actors_;
};

INSTANTIATE_TEST_SUITE_P(Every, CrashTest,
                         testing::Values(CrashPoint::kBeforeAppend,
                                         CrashPoint::kAfterAppend,
                                         CrashPoint::kMidBatch,
                                         CrashPoint::kMidSwap),
                         [](const auto& point) { return NameOf(point.param); });

TEST_P(CrashTest, LosesAndChangesNothing) {
  int num_answered = 0;
  for (int i = 0; i < 40; ++i) {
    num_answered += LiveUntilCrash(1 + static_cast<int>(random_() % 20));
  }

  EXPECT_GT(num_answered, 200);
}

}  // namespace
}  // namespace stepd
