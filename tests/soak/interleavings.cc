// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/soak/interleavings.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "server/common/error.h"
#include "server/engine/executor.h"
#include "server/engine/observer.h"
#include "server/engine/session.h"
#include "server/engine/session_store.h"
#include "server/engine/step_queue.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_journal.h"
#include "tests/fakes/fake_policy.h"
#include "tests/soak/key_record.h"
#include "tests/soak/solo_session.h"
#include "tests/soak/step_request.h"

namespace stepd {
namespace {

using std::chrono::milliseconds;

constexpr std::int32_t kNumBlocks = 6;
constexpr std::int64_t kTokensPerBlock = 2;
constexpr int kMaxTurns = 100;  // that finish whatever is left
constexpr std::uint64_t kEpoch = 1;
constexpr std::uint64_t kForkEpoch = 9;
// Which of the actor's requests is sent again and cancelled.
constexpr std::size_t kLong = 1;

absl::string_view NameOf(Event event) {
  static constexpr const char* kNames[] = {"step", "retry",     "cancel",
                                           "time", "reset",     "swap",
                                           "fork", "fork-step", "turn"};
  return kNames[static_cast<int>(event)];
}

FakePolicyOptions PolicyOptions(std::uint64_t version) {
  FakePolicyOptions options;
  options.num_actions = 0;
  options.tokens_per_block = kTokensPerBlock;
  options.weights = version;
  return options;
}

// An actor, and what its session must be.
struct Actor {
  std::string id;
  SoloSession session;
  std::deque<int> waiting;  // tickets, in order
};

// One order of the events, from the beginning.
class World {
 public:
  explicit World(const InterleavingCase& test_case);

  // Errors: kInternal  what went wrong
  absl::Status Run(const std::vector<Event>& order);

 private:
  void Happen(Event event);
  void Turn();
  void Finish();

  void Submit(Actor* actor, const StepRequest& request);
  void Push(Task task);
  void Reset(Actor* actor, std::optional<std::uint64_t> epoch);
  void Fork();
  void Swap();
  std::unique_ptr<PolicyRunner> MakeRunner(std::uint64_t version);

  void CheckTurn(Actor* actor, int ticket);
  void CheckStep(Actor* actor, const StepRequest& request,
                 const absl::StatusOr<StepReply>& reply);
  StepReply Take(Actor* actor, const StepRequest& request,
                 const KeyRecord::Keys& keys) const;
  bool MayRefuse(const StepRequest& request, Expected expected,
                 const std::string& reason) const;
  void CheckFork(const absl::StatusOr<ForkResult>& result);
  void CheckBlocks();
  void Fail(const std::string& what) {
    if (status_.ok()) status_ = absl::InternalError(what);
  }

  const InterleavingCase& case_;
  absl::Status status_;
  FakeClock clock_;
  FakeJournal journal_;
  NullObserver observer_;
  SessionBudget budget_{10};
  std::shared_ptr<FakePolicy> policies_[2];
  std::shared_ptr<ServedVersion> versions_[2];
  KeyRecord keys_;
  RunnerOptions runner_options_;
  std::unique_ptr<Executor> executor_;
  StepQueue queue_{100, 10};
  Actor actor_;
  Actor fork_;
  std::vector<StepRequest> requests_;
  std::size_t num_sent_ = 0;
  std::uint64_t version_ = 1;
  int num_tickets_ = 0;
};

World::World(const InterleavingCase& test_case)
    : case_(test_case),
      policies_{std::make_shared<FakePolicy>(PolicyOptions(1)),
                std::make_shared<FakePolicy>(PolicyOptions(2))},
      versions_{std::make_shared<ServedVersion>(1, policies_[0]),
                std::make_shared<ServedVersion>(2, policies_[1])},
      keys_(*policies_[0], kNumBlocks) {
  runner_options_.num_blocks = kNumBlocks;
  ExecutorOptions options;
  options.num_blocks = kNumBlocks;
  options.batching.max_batch_tokens = 2;
  options.idle_timeout = milliseconds(50);
  options.kv_policy = case_.kv_policy;
  Executor::Parts parts;
  parts.version = versions_[0];
  parts.runner = MakeRunner(1);
  parts.budget = &budget_;
  parts.observer = &observer_;
  parts.clock = &clock_;
  parts.journal = case_.has_journal ? &journal_ : nullptr;
  executor_ = std::make_unique<Executor>(std::move(parts), options);
  keys_.AskUsers([this](std::int32_t block) {
    return static_cast<int>(executor_->pool().use_count(block));
  });
  actor_.id = "a";
  fork_.id = "b";
  // Request i: one step, three, one, ...; the last one has no index.
  std::uint64_t index = 0;
  for (int i = 0; i < 4; ++i) {
    StepRequest request;
    request.content = std::uint64_t(i);
    for (std::size_t k = 0; k < (i == kLong ? 3 : 1); ++k) {
      request.steps.push_back(EncodeFakeStep(10 * i + std::int64_t(k)));
      request.num_tokens.push_back(1);
    }
    request.outputs = 1;
    request.epoch = kEpoch;
    if (i < 3) request.step_index = index;
    index += request.steps.size();
    request.is_cancelled = std::make_shared<std::atomic<bool>>(false);
    if (i == kLong) request.deadline = clock_.Now() + milliseconds(10);
    requests_.push_back(std::move(request));
  }
}

std::unique_ptr<PolicyRunner> World::MakeRunner(std::uint64_t version) {
  auto runner = policies_[version - 1]->CreateRunner(runner_options_).value();
  runner_options_.kv_memory = runner->kv_memory();
  return keys_.Watch(version, std::move(runner));
}

absl::Status World::Run(const std::vector<Event>& order) {
  for (const Event event : order) {
    Happen(event);
    CheckBlocks();
    if (!status_.ok()) break;
  }
  Finish();
  return status_;
}

void World::Happen(Event event) {
  switch (event) {
    case Event::kStep:
      return Submit(&actor_, requests_[num_sent_++]);
    case Event::kRetry: {
      StepRequest again = requests_[kLong];
      again.is_cancelled = std::make_shared<std::atomic<bool>>(false);
      again.deadline = kInfiniteFuture;
      return Submit(&actor_, again);
    }
    case Event::kCancel:
      return requests_[kLong].is_cancelled->store(true);
    case Event::kTime:
      return clock_.Advance(milliseconds(60));
    case Event::kReset:
      return Reset(&actor_, kEpoch + 1);
    case Event::kSwap:
      return Swap();
    case Event::kFork:
      return Fork();
    case Event::kForkStep: {
      StepRequest request = requests_[0];
      request.content = 100;
      request.steps = {EncodeFakeStep(100)};
      request.step_index.reset();
      request.epoch.reset();
      return Submit(&fork_, request);
    }
    case Event::kTurn:
      return Turn();
  }
}

// As an engine's thread does it.
void World::Turn() {
  std::vector<QueuedTask> tasks;
  StepQueue::Waiting waiting;
  waiting.until = StepQueue::kNoWait;
  queue_.PopAll(waiting, &tasks);
  for (QueuedTask& task : tasks) {
    executor_->Admit(std::move(task), clock_.Now());
  }
  executor_->ExpireIdle(clock_.Now());
  for (Actor* actor : {&actor_, &fork_}) {
    const bool is_over = actor->session.num_steps > 0 && !case_.has_journal &&
                         executor_->FindSession(actor->id) == nullptr;
    if (is_over) actor->session = SoloSession();
  }
  if (executor_->NextFire(clock_.Now()).at <= clock_.Now()) {
    executor_->RunBatch(clock_.Now());
  }
  queue_.Finish(executor_->TakeNumFinished(), executor_->expected_batch());
}

// Nothing may be left.
void World::Finish() {
  for (int i = 0; i < kMaxTurns; ++i) {
    Turn();
    if (executor_->num_unfinished() == 0) break;
  }
  CheckBlocks();
  Reset(&actor_, std::nullopt);
  Reset(&fork_, std::nullopt);
  Turn();
  for (const Actor* actor : {&actor_, &fork_}) {
    if (!actor->waiting.empty()) Fail("a task was never answered");
  }
  if (executor_->pool().num_used() != 0) Fail("blocks are left");
  if (executor_->gauges().num_sessions != 0) Fail("sessions are left");
  if (!keys_.violations().empty()) Fail(keys_.violations().front());
  executor_.reset();
  for (int i = 0; i < 2; ++i) {
    const std::vector<std::string> violations = policies_[i]->violations();
    if (!violations.empty()) Fail(violations.front());
    const ServedVersion& version = *versions_[i];
    if (version.num_executors() != 0) Fail("a version is still run");
    if (version.tally()->num_sessions.load() != 0) {
      Fail("a version still has sessions");
    }
  }
}

// ---- What is asked ----------------------------------------------------------

void World::Push(Task task) {
  QueuedTask queued;
  queued.submitted = clock_.Now();
  queued.task = std::move(task);
  const absl::Status status = queue_.TryPush(std::move(queued));
  if (!status.ok()) Fail(status.ToString());
}

void World::Submit(Actor* actor, const StepRequest& request) {
  const int ticket = ++num_tickets_;
  actor->waiting.push_back(ticket);
  Push(TaskOf(
      actor->id, request,
      [this, actor, ticket, request](const absl::StatusOr<StepReply>& reply) {
        CheckTurn(actor, ticket);
        CheckStep(actor, request, reply);
      }));
}

void World::Reset(Actor* actor, std::optional<std::uint64_t> epoch) {
  const int ticket = ++num_tickets_;
  actor->waiting.push_back(ticket);
  ResetTask task;
  task.actor_id = actor->id;
  task.epoch = epoch;
  task.done = [this, actor, ticket](const absl::Status& status) {
    CheckTurn(actor, ticket);
    if (!status.ok()) Fail(status.ToString());
    actor->session = SoloSession();
  };
  Push(std::move(task));
}

void World::Fork() {
  const int ticket = ++num_tickets_;
  actor_.waiting.push_back(ticket);
  ForkTask task;
  task.actor_id = actor_.id;
  task.forks = {fork_.id};
  task.epoch = kForkEpoch;
  task.done = [this, ticket](const absl::StatusOr<ForkResult>& result) {
    CheckTurn(&actor_, ticket);
    CheckFork(result);
  };
  Push(std::move(task));
}

void World::Swap() {
  version_ = 3 - version_;
  auto rollout = std::make_shared<Rollout>();
  rollout->stable = version_;
  rollout->versions = {versions_[version_ - 1]};
  std::vector<std::unique_ptr<PolicyRunner>> runners;
  runners.push_back(MakeRunner(version_));
  executor_->RollOut(std::move(rollout), std::move(runners));
}

// ---- What is answered -------------------------------------------------------

void World::CheckTurn(Actor* actor, int ticket) {
  if (actor->waiting.empty() || actor->waiting.front() != ticket) {
    return Fail(absl::StrCat(actor->id, ": an answer out of turn"));
  }
  actor->waiting.pop_front();
}

void World::CheckStep(Actor* actor, const StepRequest& request,
                      const absl::StatusOr<StepReply>& reply) {
  const SoloSession& session = actor->session;
  const Expected expected = Expect(request, session);
  if (!reply.ok()) {
    if (MayRefuse(request, expected, ReasonOf(reply.status()))) return;
    return Fail(absl::StrCat(actor->id, ": ", reply.status().ToString()));
  }
  if (expected == Expected::kRepeated) {
    if (!AreSame(*reply, session.answered->reply))
      Fail("another repeated reply");
    return;
  }
  const KeyRecord::Keys* keys = keys_.Find(request.steps.back());
  if (expected != Expected::kTaken || keys == nullptr) {
    return Fail(absl::StrCat(actor->id, ": a step was answered out of order"));
  }
  const bool was_new = session.num_steps == 0;
  StepReply want = Take(actor, request, *keys);
  want.epoch =
      was_new && !request.epoch.has_value() ? reply->epoch : session.epoch;
  want.served_from = reply->served_from;
  actor->session.epoch = want.epoch;
  if (!AreSame(*reply, want) ||
      was_new != (reply->served_from == ServedFrom::kNew)) {
    return Fail(absl::StrCat(actor->id, ": another reply than alone"));
  }
  if (case_.kv_policy != KvPolicy::kKeep &&
      want.context_version_min != want.context_version_max) {
    Fail(absl::StrCat(actor->id, ": keys of several versions"));
  }
  actor->session.answered.reset();
  if (!request.step_index.has_value()) return;
  actor->session.answered = SoloAnswer{};
  actor->session.answered->content = request.content;
  actor->session.answered->step_index = *request.step_index;
  actor->session.answered->reply = *reply;
}

// The steps become the session's, computed over these keys.
StepReply World::Take(Actor* actor, const StepRequest& request,
                      const KeyRecord::Keys& keys) const {
  SoloSession& session = actor->session;
  if (session.num_steps == 0) session.epoch = request.epoch.value_or(0);
  for (const std::string& step : request.steps) {
    session.context.push_back({step, 1, 0});
    ++session.num_steps;
  }
  FakeHistory history(PolicyOptions(1));
  for (std::size_t i = 0; i < session.context.size(); ++i) {
    history.UseWeights(i < keys.size() ? keys[i] : 0);
    history.Append(session.context[i].step);
  }
  StepReply reply;
  reply.num_answered = 1;
  reply.outputs = {{history.Value()}, {}};
  reply.step_index = static_cast<std::uint64_t>(session.num_steps);
  reply.model_version = keys.back();
  const auto [min, max] = std::minmax_element(keys.begin(), keys.end());
  reply.context_version_min = *min;
  reply.context_version_max = *max;
  return reply;
}

bool World::MayRefuse(const StepRequest& request, Expected expected,
                      const std::string& reason) const {
  if (expected == Expected::kOutOfOrder) return reason == reason::kStepIndex;
  if (expected == Expected::kUnknown) return reason == reason::kSessionUnknown;
  if (expected == Expected::kRepeated) return false;
  if (reason == reason::kCancelled) return request.is_cancelled->load();
  return reason == reason::kDeadline && request.deadline <= clock_.Now();
}

void World::CheckFork(const absl::StatusOr<ForkResult>& result) {
  if (!result.ok()) {
    const std::string reason = ReasonOf(result.status());
    const bool is_right =
        (reason == reason::kSessionUnknown && actor_.session.num_steps == 0) ||
        (reason == reason::kSessionExists && fork_.session.num_steps > 0) ||
        // A step of the fork waits for its turn: there is a session.
        (reason == reason::kSessionExists && !fork_.waiting.empty());
    if (!is_right) Fail(result.status().ToString());
    return;
  }
  if (actor_.session.num_steps == 0) return Fail("a fork of nothing");
  if (fork_.session.num_steps > 0) return Fail("a fork over a session");
  fork_.session = actor_.session;
  fork_.session.epoch = kForkEpoch;
  fork_.session.answered.reset();
}

// Every block has as many users as sessions have it.
void World::CheckBlocks() {
  std::map<std::int32_t, int> users;
  for (const Actor* actor : {&actor_, &fork_}) {
    const Session* session = executor_->FindSession(actor->id);
    if (session == nullptr) continue;
    for (const std::int32_t block : session->blocks) ++users[block];
    if (!actor->waiting.empty()) continue;
    if (session->num_steps() != actor->session.num_steps) {
      Fail(absl::StrCat(actor->id, " has ", session->num_steps(),
                        " steps, not ", actor->session.num_steps));
    }
  }
  for (const auto& [block, count] : users) {
    if (executor_->pool().use_count(block) == count) continue;
    Fail(absl::StrCat("block ", block, " is not of ", count, " sessions"));
  }
  if (executor_->pool().num_used() != static_cast<std::int32_t>(users.size())) {
    Fail("blocks are used by nobody");
  }
}

// ---- Cases ------------------------------------------------------------------

std::vector<InterleavingCase> EveryKindOf(
    const std::vector<std::vector<Event>>& events) {
  std::vector<InterleavingCase> cases;
  for (const KvPolicy kv_policy :
       {KvPolicy::kPin, KvPolicy::kKeep, KvPolicy::kRecompute}) {
    for (const bool has_journal : {false, true}) {
      for (const std::vector<Event>& some : events) {
        cases.push_back({kv_policy, has_journal, some});
      }
    }
  }
  return cases;
}

}  // namespace

std::string NameOf(const InterleavingCase& test_case) {
  static constexpr const char* kPolicies[] = {"pin", "keep", "recompute"};
  std::string name = kPolicies[static_cast<int>(test_case.kv_policy)];
  if (test_case.has_journal) name += ", journal";
  for (const Event event : test_case.events) {
    absl::StrAppend(&name, " ", NameOf(event));
  }
  return name;
}

std::vector<InterleavingCase> ShortInterleavings() {
  using E = Event;
  return EveryKindOf({
      {E::kStep, E::kStep, E::kCancel, E::kReset, E::kSwap, E::kFork, E::kTurn,
       E::kTurn, E::kTurn},
      {E::kStep, E::kStep, E::kRetry, E::kTime, E::kSwap, E::kTurn, E::kTurn},
  });
}

std::vector<InterleavingCase> LongInterleavings() {
  using E = Event;
  return EveryKindOf({
      {E::kStep, E::kStep, E::kCancel, E::kTime, E::kReset, E::kSwap, E::kFork,
       E::kTurn, E::kTurn, E::kTurn},
      {E::kStep, E::kStep, E::kRetry, E::kCancel, E::kTime, E::kSwap, E::kTurn,
       E::kTurn, E::kTurn},
      {E::kStep, E::kStep, E::kSwap, E::kSwap, E::kFork, E::kForkStep,
       E::kCancel, E::kTurn, E::kTurn, E::kTurn},
      {E::kStep, E::kStep, E::kStep, E::kStep, E::kRetry, E::kReset, E::kTime,
       E::kTurn, E::kTurn, E::kTurn},
  });
}

absl::Status RunInterleavings(const InterleavingCase& test_case,
                              std::int64_t* num_orders) {
  std::vector<Event> order = test_case.events;
  std::sort(order.begin(), order.end());
  do {
    ++*num_orders;
    const absl::Status status = World(test_case).Run(order);
    if (status.ok()) continue;
    InterleavingCase failed = test_case;
    failed.events = order;
    return absl::InternalError(
        absl::StrCat(NameOf(failed), ": ", status.message()));
  } while (std::next_permutation(order.begin(), order.end()));
  return absl::OkStatus();
}

}  // namespace stepd
