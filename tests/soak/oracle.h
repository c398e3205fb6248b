// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Random operations of many actors on executors that share a small cache, while
// weights are swapped, sessions expire and the process restarts; each reply is
// compared, bit by bit, with a replay of its actor alone (SoloActor).
//
// One thread, and a clock that the oracle owns: a seed decides everything.
//
// Thread safety: none.

#ifndef STEPD_TESTS_SOAK_ORACLE_H_
#define STEPD_TESTS_SOAK_ORACLE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/engine/session_task.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_journal.h"
#include "tests/soak/families.h"
#include "tests/soak/oracle_watcher.h"
#include "tests/soak/sharded_executors.h"
#include "tests/soak/solo_actor.h"
#include "tests/soak/solo_session.h"
#include "tests/soak/step_request.h"

namespace stepd {

struct OracleOptions {
  std::string family = "mouse";
  // Decides, besides every operation, the shape, the KV policy, whether there
  // is a journal, what a full context does, and the limits.
  unsigned seed = 0;
  int num_actors = 64;
  std::int64_t operations_per_actor = 10000;
};

class Oracle {
 public:
  explicit Oracle(const OracleOptions& options);
  ~Oracle();
  Oracle(const Oracle&) = delete;
  Oracle& operator=(const Oracle&) = delete;

  // What the seed decided, in a few words.
  std::string Setting() const;

  // Runs to the end or to the first fault; calls `progress` now and then.
  // Errors: kInternal  what went wrong, after how many operations
  absl::Status Run(const std::function<void(std::int64_t)>& progress = nullptr);

  // How often what happened, by name.
  const std::map<std::string, std::int64_t>& counts() const { return counts_; }

 private:
  struct Actor {
    explicit Actor(SoloActor actor) : solo(std::move(actor)) {}

    const std::string& id() const { return solo.id(); }
    bool is_idle() const { return waiting.empty() && num_locks == 0; }

    SoloActor solo;
    std::deque<std::uint64_t> waiting;  // tickets of its tasks, in order
    // Tasks that nothing may be asked beside.
    int num_locks = 0;
    // What its session will be if all that waits succeeds.
    std::uint64_t next_index = 0;
    std::optional<std::uint64_t> next_epoch;  // nullopt: nobody knows yet
    std::optional<StepRequest> last;
    std::deque<std::weak_ptr<std::atomic<bool>>> cancellations;
  };
  struct Exported {
    SessionRecord record;
    SoloSession session;
  };
  int Random(int n) { return static_cast<int>(random_() % unsigned(n)); }
  bool OneIn(int n) { return Random(n) == 0; }
  Actor* AnyActor() { return actors_[std::size_t(Random(num_actors()))].get(); }
  int num_actors() const { return static_cast<int>(actors_.size()); }

  // ---- oracle_operations.cc: what is asked
  void DrawSetting();
  void Start();
  void Operate(Actor* actor);
  void Act(Actor* actor, int choice);
  void Step(Actor* actor);
  StepRequest DrawRequest(Actor* actor, bool begins_epoch);
  void DrawOptions(StepRequest* request);
  void DrawOrder(Actor* actor, bool begins_epoch, StepRequest* request);
  void Retry(Actor* actor);
  void Submit(Actor* actor, const StepRequest& request);
  void Reset(Actor* actor, SessionEnd end);
  void Cancel(Actor* actor);
  void Fork(Actor* actor);
  void SubmitFork(Actor* source, const std::vector<Actor*>& forks,
                  std::optional<std::uint64_t> epoch);
  void Export(Actor* actor);
  void Import(Actor* actor);
  void Inspect(Actor* actor);
  void RunSome();
  void Expire();
  void RollOut();
  void Restart();
  void End();

  std::uint64_t Take(Actor* actor);  // a ticket
  template <typename Then>
  auto InTurn(Actor* actor, bool is_exclusive, Then then);

  // ---- oracle_checks.cc: what is answered
  void Fail(const std::string& what);
  void CheckTurn(Actor* actor, std::uint64_t ticket);
  void CheckStep(Actor* actor, const StepRequest& request,
                 std::size_t first_rollout,
                 const absl::StatusOr<StepReply>& reply);
  void CheckTaken(Actor* actor, const StepRequest& request,
                  std::size_t first_rollout, const StepReply& reply);
  void CheckVersion(const Actor& actor, const SoloSession& before,
                    const StepRequest& request, std::size_t first_rollout,
                    const StepReply& reply);
  void CheckRefusal(Actor* actor, const StepRequest& request, Expected expected,
                    const absl::Status& status);
  bool MayRefuse(const StepRequest& request, const SoloSession& session,
                 const std::string& reason) const;
  // Of any task.
  bool MayBeFull(const std::string& reason) const;
  void CheckFork(Actor* source, const std::vector<Actor*>& forks,
                 std::optional<std::uint64_t> epoch,
                 const absl::StatusOr<ForkResult>& result);
  void CheckRecord(const Actor& actor, const SessionRecord& record);
  void CheckAccounts();
  void CheckSession(const Actor& actor, std::map<std::int32_t, int>* users);
  bool IsOffered(std::uint64_t version, std::size_t first_rollout) const;

  const OracleOptions options_;
  std::mt19937_64 random_;
  absl::Status status_;
  std::map<std::string, std::int64_t> counts_;

  FamilyPolicies policies_;
  FakeClock clock_;
  FakeJournal journal_;
  bool has_journal_ = false;
  bool says_kv_policy_ = false;  // steps do, now and then
  ShardedExecutors::Options engine_options_;
  CountingObserver observer_;
  std::unique_ptr<ShardedExecutors> engine_;
  std::unique_ptr<SoloRunners> solo_runners_;
  std::vector<std::unique_ptr<Actor>> actors_;
  std::deque<Exported> exported_;
  struct Forked {
    Actor* source = nullptr;
    std::vector<Actor*> forks;
    std::optional<std::uint64_t> epoch;
  };
  std::optional<Forked> last_fork_;
  int num_forks_under_way_ = 0;
  // Copies of a fork that failed wait to be undone.
  bool must_settle_ = false;

  // The versions that contexts began under, since when: stable and canary.
  std::vector<std::pair<std::uint64_t, std::uint64_t>> rollouts_;
  std::uint64_t newest_version_ = 1;
  std::int64_t num_operations_ = 0;
  std::uint64_t num_contents_ = 0;
  std::uint64_t num_tickets_ = 0;
  std::uint64_t num_epochs_ = 0;
  std::uint64_t num_starts_ = 0;
};

}  // namespace stepd

#endif  // STEPD_TESTS_SOAK_ORACLE_H_
