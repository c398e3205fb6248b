// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The half of the oracle that asks.

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/common/error.h"
#include "server/engine/answer.h"
#include "tests/soak/oracle.h"

namespace stepd {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr std::int64_t kOperationsPerCheck = 1000;
// Above every epoch that a server counts.
constexpr std::uint64_t kFirstEpoch = std::uint64_t{1} << 40;

std::int64_t CeilDiv(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

}  // namespace

Oracle::Oracle(const OracleOptions& options)
    : options_(options),
      random_(options.seed),
      policies_(FamilyShape(options.family, options.seed)),
      observer_(&counts_) {
  DrawSetting();
  const ExecutorOptions& executor = engine_options_.executor;
  const std::int64_t most_tokens =
      policies_.spec().num_prefix_tokens +
      executor.context.max_steps * policies_.max_tokens_per_step();
  const std::int64_t blocks_of_one =
      CeilDiv(most_tokens, policies_.spec().tokens_per_block);
  const std::int64_t num_sessions =
      CeilDiv(options_.num_actors, engine_options_.num_executors);
  // About a half of what all sessions need, and enough for any of them.
  engine_options_.executor.num_blocks = static_cast<std::int32_t>(
      std::max(blocks_of_one, blocks_of_one * num_sessions / 2));
  solo_runners_ = std::make_unique<SoloRunners>(
      &policies_,
      static_cast<std::int32_t>(options_.num_actors * blocks_of_one));
  for (std::int32_t a = 0; a < options_.num_actors; ++a) {
    std::vector<std::int32_t> blocks;
    for (std::int32_t i = 0; i < blocks_of_one; ++i) {
      blocks.push_back(a * static_cast<std::int32_t>(blocks_of_one) + i);
    }
    // Every fourth actor lives where its neighbours do.
    const std::string name =
        a % 4 == 0 ? absl::StrCat("actor-", a) : absl::StrCat("{group}-", a);
    actors_.push_back(std::make_unique<Actor>(SoloActor(
        name, executor.context, std::move(blocks), solo_runners_.get())));
  }
  Start();
}

Oracle::~Oracle() {
  if (engine_ != nullptr) engine_->Drain();
}

void Oracle::DrawSetting() {
  has_journal_ = OneIn(2);
  ShardedExecutors::Options& engine = engine_options_;
  engine.num_executors = 1 + Random(4);
  engine.max_sessions =
      OneIn(3) ? options_.num_actors * 3 / 4 : options_.num_actors;
  engine.journal = has_journal_ ? &journal_ : nullptr;
  engine.fail_one_in = OneIn(2) ? 97 : 0;
  engine.executor.context.max_steps = 5 + Random(9);
  if (!OneIn(4)) {
    engine.executor.context.keep_steps =
        1 + Random(static_cast<int>(engine.executor.context.max_steps));
  }
  engine.executor.context.forget_at = static_cast<Boundary>(Random(3));
  engine.executor.kv_policy = static_cast<KvPolicy>(options_.seed % 3);
  engine.executor.batching.max_batch_tokens = 8 + Random(48);
  engine.executor.batching.max_batch_sessions = 4 + Random(28);
  engine.executor.idle_timeout = milliseconds(500);
  // A journal does not keep it.
  says_kv_policy_ = !has_journal_ && OneIn(2);
}

std::string Oracle::Setting() const {
  static constexpr const char* kPolicies[] = {"pin", "keep", "recompute"};
  const ShardedExecutors::Options& engine = engine_options_;
  const ContextLimits& context = engine.executor.context;
  return absl::StrCat(
      options_.family, " seed ", options_.seed, ": ",
      kPolicies[static_cast<int>(engine.executor.kv_policy)], ", ",
      engine.num_executors, " executors of ", engine.executor.num_blocks,
      " blocks, context ", context.max_steps, "/", context.keep_steps,
      has_journal_ ? ", journal" : "", says_kv_policy_ ? ", as steps say" : "");
}

void Oracle::Start() {
  engine_options_.version = newest_version_;
  engine_options_.executor.first_epoch = 1 + (num_starts_++ << 20);
  rollouts_.emplace_back(newest_version_, newest_version_);
  engine_ = std::make_unique<ShardedExecutors>(&policies_, engine_options_,
                                               &observer_, &clock_);
}

absl::Status Oracle::Run(const std::function<void(std::int64_t)>& progress) {
  const std::int64_t end =
      options_.operations_per_actor * static_cast<std::int64_t>(num_actors());
  while (num_operations_ < end && status_.ok()) {
    Operate(AnyActor());
    ++num_operations_;
    if (num_operations_ % kOperationsPerCheck != 0) continue;
    CheckAccounts();
    if (progress != nullptr) progress(num_operations_);
  }
  if (status_.ok()) End();
  return status_;
}

// One operation of an actor, and maybe a batch.
void Oracle::Operate(Actor* actor) {
  clock_.Advance(microseconds(Random(200)));
  if (actor->waiting.empty()) {
    const SoloSession& session = actor->solo.session();
    actor->next_index = static_cast<std::uint64_t>(session.num_steps);
    actor->next_epoch.reset();
    if (!actor->solo.is_new()) actor->next_epoch = session.epoch;
  }
  if (actor->num_locks == 0) Act(actor, Random(1000));
  if (OneIn(600)) RollOut();
  if (OneIn(1000)) Expire();
  if (OneIn(6000)) Restart();
  if (OneIn(3)) RunSome();
}

void Oracle::RunSome() {
  engine_->Run(Random(engine_->size()));
  while (std::exchange(must_settle_, false)) {
    for (int i = 0; i < engine_->size(); ++i) engine_->Run(i);
  }
}

void Oracle::Act(Actor* actor, int choice) {
  if (choice < 600) {
    Step(actor);
  } else if (choice < 680) {
    Retry(actor);
  } else if (choice < 730) {
    Cancel(actor);
  } else if (choice < 770) {
    Reset(actor, SessionEnd::kReset);
  } else if (choice < 790) {
    Reset(actor, SessionEnd::kClosed);
  } else if (choice < 880) {
    Fork(actor);
  } else if (choice < 910) {
    Export(actor);
  } else if (choice < 960) {
    Import(actor);
  } else {
    Inspect(actor);
  }
}

// ---- Steps ------------------------------------------------------------------

void Oracle::Step(Actor* actor) {
  const bool begins_epoch = OneIn(25);
  StepRequest request = DrawRequest(actor, begins_epoch);
  actor->last = request;
  Submit(actor, request);
  actor->next_index += request.steps.size();
  if (request.is_ephemeral) actor->next_index = 0;
  if (OneIn(30)) Submit(actor, request);  // it came twice
}

StepRequest Oracle::DrawRequest(Actor* actor, bool begins_epoch) {
  StepRequest request;
  request.content = ++num_contents_;
  const PolicySpec& spec = policies_.spec();
  request.steps = MakeRandomSteps(spec.fields, 1 + Random(5),
                                  static_cast<int>(request.content));
  for (const std::string& step : request.steps) {
    request.num_tokens.push_back(policies_.Get(0)->CountTokens(step).value());
  }
  const bool is_first = begins_epoch || actor->next_index == 0;
  if (!spec.session_fields.empty() && is_first != OneIn(50)) {
    request.session_inputs =
        MakeRandomSteps(spec.session_fields, 1, 1 + Random(20)).front();
  }
  DrawOptions(&request);
  DrawOrder(actor, begins_epoch, &request);
  return request;
}

void Oracle::DrawOptions(StepRequest* request) {
  if (OneIn(10)) request->boundary = static_cast<Boundary>(1 + Random(2));
  if (OneIn(2)) request->sampling.temperature = 0.7F;
  if (OneIn(3)) request->sampling.epsilon = 0.25F;
  if (OneIn(3)) request->sampling.top_k = 1 + Random(5);
  request->sampling.seed = random_();
  request->answer_all_steps = OneIn(2);
  request->is_ephemeral = OneIn(40);
  const std::size_t num_outputs = NumAnswerOutputs(policies_.spec());
  request->outputs = random_() & ((OutputMask{1} << num_outputs) - 1);
  if (OneIn(4)) {
    const std::size_t rows =
        request->answer_all_steps ? request->steps.size() : 1;
    const auto num_actions =
        static_cast<std::size_t>(policies_.spec().num_actions);
    for (std::size_t i = 0; i < rows * num_actions; ++i) {
      request->action_mask.push_back(i % num_actions == 0 || OneIn(2) ? 1 : 0);
    }
  }
  if (says_kv_policy_ && OneIn(6)) {
    request->kv_policy = static_cast<KvPolicy>(Random(3));
  }
  request->is_cancelled = std::make_shared<std::atomic<bool>>(false);
  if (OneIn(30)) request->deadline = clock_.Now() + milliseconds(Random(20));
  if (OneIn(100)) {
    request->min_version = newest_version_ + std::uint64_t(Random(2));
    request->deadline = clock_.Now() + milliseconds(60 + Random(200));
  }
}

void Oracle::DrawOrder(Actor* actor, bool begins_epoch, StepRequest* request) {
  if (begins_epoch) {
    actor->next_index = 0;
    actor->next_epoch = kFirstEpoch + ++num_epochs_;
    request->epoch = actor->next_epoch;
    if (OneIn(2)) request->step_index = 0;
    return;
  }
  if (OneIn(3)) return;
  request->step_index = actor->next_index;
  if (OneIn(50)) *request->step_index += 1 + std::uint64_t(Random(2));
  if (OneIn(2)) return;
  if (actor->next_index == 0) actor->next_epoch = kFirstEpoch + ++num_epochs_;
  request->epoch = actor->next_epoch;
  if (request->epoch.has_value() && OneIn(50)) --*request->epoch;
}

// The last request again, or one that only looks like it.
void Oracle::Retry(Actor* actor) {
  if (!actor->last.has_value()) return Step(actor);
  StepRequest request = *actor->last;
  if (OneIn(20)) {
    request.content = ++num_contents_;
    request.sampling.seed = random_();
  }
  request.is_cancelled = std::make_shared<std::atomic<bool>>(false);
  request.deadline = kInfiniteFuture;
  request.min_version = 0;
  Submit(actor, request);
}

std::uint64_t Oracle::Take(Actor* actor) {
  actor->waiting.push_back(++num_tickets_);
  return num_tickets_;
}

// `then` with the task's answer, when it comes in its turn.
template <typename Then>
auto Oracle::InTurn(Actor* actor, bool is_exclusive, Then then) {
  actor->num_locks += is_exclusive ? 1 : 0;
  return [this, actor, is_exclusive, ticket = Take(actor),
          then = std::move(then)](auto&& answer) mutable {
    actor->num_locks -= is_exclusive ? 1 : 0;
    CheckTurn(actor, ticket);
    if (status_.ok()) then(answer);
  };
}

void Oracle::Submit(Actor* actor, const StepRequest& request) {
  actor->cancellations.emplace_back(request.is_cancelled);
  const std::size_t first_rollout = rollouts_.size() - 1;
  engine_->Submit(TaskOf(actor->id(), request,
                         InTurn(actor, false,
                                [this, actor, request, first_rollout](
                                    const absl::StatusOr<StepReply>& reply) {
                                  CheckStep(actor, request, first_rollout,
                                            reply);
                                })));
}

void Oracle::Cancel(Actor* actor) {
  for (const auto& weak : actor->cancellations) {
    if (const auto is_cancelled = weak.lock()) is_cancelled->store(true);
  }
  actor->cancellations.clear();
}

// ---- Sessions ---------------------------------------------------------------

void Oracle::Reset(Actor* actor, SessionEnd end) {
  ResetTask task;
  task.actor_id = actor->id();
  task.end = end;
  if (OneIn(2)) {
    task.epoch = actor->next_epoch.value_or(0) + (OneIn(3) ? 0 : 1);
  }
  const std::optional<std::uint64_t> epoch = task.epoch;
  task.done = InTurn(actor, false, [this, actor, epoch](const absl::Status& s) {
    ++counts_["resets"];
    if (!s.ok()) {
      const bool is_right = epoch.has_value() && MayBeFull(ReasonOf(s));
      if (!is_right) Fail(absl::StrCat("a reset failed: ", s.ToString()));
      return;
    }
    const SoloActor& solo = actor->solo;
    const bool is_done =
        !solo.is_new() && epoch.has_value() && solo.session().epoch >= *epoch;
    if (!is_done) actor->solo.End();
  });
  engine_->Submit(std::move(task));
  actor->next_index = 0;
  actor->next_epoch.reset();
}

void Oracle::Fork(Actor* actor) {
  if (last_fork_.has_value() && OneIn(4)) {  // the same again
    const Forked again = *last_fork_;
    return SubmitFork(again.source, again.forks, again.epoch);
  }
  std::vector<Actor*> forks;
  const int num_forks = 1 + Random(3);
  for (int tries = 0; tries < 20 && static_cast<int>(forks.size()) < num_forks;
       ++tries) {
    Actor* fork = AnyActor();
    const bool is_free = fork != actor && fork->is_idle() &&
                         (fork->solo.is_new() || OneIn(20)) &&
                         std::count(forks.begin(), forks.end(), fork) == 0;
    if (is_free) forks.push_back(fork);
  }
  if (forks.empty()) return;
  std::optional<std::uint64_t> epoch;
  if (!OneIn(3)) epoch = kFirstEpoch + ++num_epochs_;
  SubmitFork(actor, forks, epoch);
}

void Oracle::SubmitFork(Actor* source, const std::vector<Actor*>& forks,
                        std::optional<std::uint64_t> epoch) {
  bool is_across = false;
  bool is_free = source->num_locks == 0;
  for (const Actor* fork : forks) {
    is_across |= engine_->ShardOf(fork->id()) != engine_->ShardOf(source->id());
    is_free &= fork->is_idle();
  }
  // Copies elsewhere are made later: the source must stay as it is until then.
  if (!is_free || (is_across && !source->is_idle())) return;
  last_fork_ = Forked{source, forks, epoch};
  ForkTask task;
  task.actor_id = source->id();
  task.epoch = epoch;
  for (Actor* fork : forks) {
    task.forks.push_back(fork->id());
    ++fork->num_locks;
  }
  ++num_forks_under_way_;
  task.done = InTurn(
      source, is_across,
      [this, source, forks, epoch](const absl::StatusOr<ForkResult>& result) {
        --num_forks_under_way_;
        for (Actor* fork : forks) --fork->num_locks;
        CheckFork(source, forks, epoch, result);
      });
  engine_->Submit(std::move(task));
}

void Oracle::Export(Actor* actor) {
  ExportTask task;
  task.actor_id = actor->id();
  task.done = InTurn(
      actor, false, [this, actor](const absl::StatusOr<SessionRecord>& record) {
        ++counts_["exports"];
        if (record.ok()) return CheckRecord(*actor, *record);
        const std::string reason = ReasonOf(record.status());
        const bool is_right =
            (reason == reason::kSessionUnknown && actor->solo.is_new()) ||
            MayBeFull(reason);
        if (!is_right) Fail(absl::StrCat("an export: ", reason));
      });
  engine_->Submit(std::move(task));
}

void Oracle::Import(Actor* actor) {
  if (exported_.empty() || !actor->is_idle()) return;
  const auto exported = std::make_shared<const Exported>(
      exported_[std::size_t(Random(static_cast<int>(exported_.size())))]);
  ImportTask task;
  task.actor_id = actor->id();
  task.record =
      std::shared_ptr<const SessionRecord>(exported, &exported->record);
  if (OneIn(2)) task.epoch = kFirstEpoch + ++num_epochs_;
  const auto epoch = task.epoch;
  task.done = InTurn(
      actor, true,
      [this, actor, exported, epoch](const absl::StatusOr<bool>& made) {
        ++counts_["imports"];
        if (!made.ok()) {
          const std::string reason = ReasonOf(made.status());
          const bool is_right =
              (reason == reason::kSessionExists && !actor->solo.is_new()) ||
              MayBeFull(reason);
          if (!is_right) Fail(absl::StrCat("an import: ", reason));
          return;
        }
        if (!actor->solo.is_new()) return Fail("an import over a session");
        SoloSession copy = exported->session;
        if (epoch.has_value()) copy.epoch = *epoch;
        copy.kv_policy.reset();
        actor->solo.Become(copy);
        actor->solo.Unpin(rollouts_.size() - 1);
      });
  engine_->Submit(std::move(task));
}

void Oracle::Inspect(Actor* actor) {
  if (!actor->waiting.empty()) return;
  InspectTask task;
  task.actor_id = actor->id();
  task.done = [this, actor](const absl::StatusOr<SessionInfo>& info) {
    const SoloActor& solo = actor->solo;
    if (!info.ok()) {
      if (!solo.is_new() && !has_journal_) Fail("a session is not found");
      return;
    }
    const bool is_right = info->num_steps == solo.session().num_steps &&
                          info->epoch == solo.session().epoch &&
                          info->context_tokens == solo.num_tokens();
    if (!is_right) Fail("a session is described as another");
  };
  // It overtakes nothing, as nothing waits.
  actor->num_locks += 1;
  task.done = [actor, done = std::move(task.done)](
                  const absl::StatusOr<SessionInfo>& info) mutable {
    actor->num_locks -= 1;
    done(info);
  };
  engine_->Submit(std::move(task));
}

// ---- What happens to all ----------------------------------------------------

void Oracle::Expire() {
  // A source that is over before its copies elsewhere are made is still what
  // they are compared with.
  if (num_forks_under_way_ > 0) return;
  clock_.Advance(milliseconds(Random(600)));
  for (int i = 0; i < engine_->size(); ++i) engine_->Expire(i);
  if (has_journal_) return;
  for (const auto& actor : actors_) {
    const bool has_ended =
        !actor->solo.is_new() && engine_->FindSession(actor->id()) == nullptr;
    if (!has_ended) continue;
    ++counts_["expired"];
    actor->solo.End();
  }
}

// Newer weights for all or for some, or back to those before.
void Oracle::RollOut() {
  ++counts_["rollouts"];
  Rollout rollout;
  const std::uint64_t stable = rollouts_.back().first;
  const int choice = Random(4);
  if (choice == 0) {
    rollout.stable =
        rollouts_[rollouts_.size() - 1 -
                  std::size_t(Random(static_cast<int>(
                      std::min<std::size_t>(rollouts_.size(), 4))))]
            .first;
  } else if (choice == 1) {
    rollout.stable = stable;
    rollout.canary = ++newest_version_;
    rollout.canary_share = 0.3;
  } else {
    rollout.stable = ++newest_version_;
  }
  rollouts_.emplace_back(rollout.stable, rollout.canary);
  engine_->RollOut(std::move(rollout));
}

// With a journal nobody notices.
void Oracle::Restart() {
  ++counts_["restarts"];
  engine_->Drain();
  CheckAccounts();
  if (!status_.ok()) return;
  engine_.reset();
  engine_options_.num_executors = 1 + Random(4);
  ++newest_version_;
  Start();
  for (const auto& actor : actors_) {
    if (has_journal_) {
      actor->solo.Unpin(rollouts_.size() - 1);
    } else {
      actor->solo.End();
    }
  }
}

void Oracle::End() {
  engine_->Drain();
  CheckAccounts();
  if (!status_.ok()) return;
  // Drained executors still take tasks: only an engine's queue refuses them.
  for (const auto& actor : actors_) {
    actor->next_epoch.reset();
    ResetTask task;
    task.actor_id = actor->id();
    task.done = InTurn(
        actor.get(), false,
        [actor = actor.get()](const absl::Status&) { actor->solo.End(); });
    engine_->Submit(std::move(task));
  }
  engine_->Drain();
  for (const auto& actor : actors_) {
    if (!actor->waiting.empty()) Fail("a task was never answered");
  }
  for (const std::string& leak : engine_->Leaks()) Fail(leak);
  engine_.reset();
}

}  // namespace stepd
