// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/executor.h"

#include <algorithm>
#include <cassert>
#include <chrono>
#include <cstddef>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "server/common/error.h"
#include "server/engine/answer.h"
#include "server/engine/step_order.h"

namespace stepd {
namespace {

// Beside single steps, long work takes as many tokens as they do, so that it
// at most doubles their time; but at least so many, which cost hardly more
// than one token.
constexpr std::int64_t kMinLongTokens = 64;

// Batches that may overtake a step which waits for blocks.
constexpr int kMaxBatchesBlocked = 4;

// How often a step that waits for a version is asked whether it is still
// wanted, and how long before its deadline it is told that there is none: its
// client should hear it.
constexpr MonotonicDuration kParkedLook = std::chrono::milliseconds(100);
constexpr MonotonicDuration kAnswerMargin = std::chrono::milliseconds(50);

// Sessions that expire in one go: the loop comes back for more.
constexpr int kMaxExpiredAtOnce = 256;

std::shared_ptr<const std::string> TakeInputs(StepTask* task) {
  if (task->session_inputs.empty()) return nullptr;
  return std::make_shared<const std::string>(std::move(task->session_inputs));
}

absl::Status ComputationFailed(const std::string& id) {
  return Error(absl::StatusCode::kInternal, reason::kInternal,
               absl::StrCat("the computation failed (error ", id, ")"),
               {{"error_id", id}});
}

// Its session is nobody's, counted nowhere and in no journal.
bool IsEvaluation(const Work& work) {
  const auto* task = std::get_if<StepTask>(&work.task);
  return task != nullptr && task->evaluation != nullptr;
}

}  // namespace

Executor::Executor(Parts parts, const ExecutorOptions& options)
    : spec_(parts.version->policy()->spec()),
      options_(options),
      observer_(parts.observer),
      clock_(parts.clock),
      versions_(
          std::move(parts.version), std::move(parts.runner), options.kv_policy,
          options.kv_policy == KvPolicy::kPin || !spec_.session_fields.empty()),
      store_(
          spec_,
          {&versions_, parts.budget, parts.observer, parts.journal != nullptr},
          options.num_blocks, options.first_epoch),
      journal_(parts.journal, &store_, parts.clock),
      session_tasks_(options.index, &store_, &journal_),
      slicer_(spec_, &versions_.policy(), options.context),
      admission_(spec_, slicer_, options.context, store_.blocks()),
      ready_(options.batching),
      patience_(options.batching.max_wait) {}

Executor::~Executor() { assert(num_unfinished_ == 0); }

void Executor::Admit(QueuedTask task, MonotonicTime now) {
  if (session_tasks_.TryAnswer(&task.task, now)) {
    ++num_finished_;
    return;
  }
  Session* session =
      store_.table().FindOrCreate(ActorOf(task.task), task.actor_hash);
  if (session->num_steps() > 0 && session->first_work == nullptr) {
    patience_.OnReturn(task.submitted - session->last_use, expected_batch_);
  }
  store_.table().MarkBusy(session);
  Work* work = works_.New();
  work->task = std::move(task.task);
  work->submitted = task.submitted;
  work->session = session;
  if (IsEvaluation(*work)) session->is_looked_up = true;
  if (work->is_step()) {
    for (int tokens : work->step().num_tokens) work->num_new_tokens += tokens;
  }
  ++num_unfinished_;

  if (session->first_work != nullptr) {
    session->last_work->next_of_session = work;
    session->last_work = work;
    return;
  }
  session->first_work = session->last_work = work;
  ServeNext(session, now);
  if (!finished_.empty()) DeliverFinished(now);
}

void Executor::StartDraining() {
  is_draining_ = true;
  Unpark(kInfiniteFuture);
}

void Executor::RollOut(std::shared_ptr<const Rollout> rollout,
                       std::vector<std::unique_ptr<PolicyRunner>> runners) {
  versions_.RollOut(std::move(rollout), std::move(runners));
  slicer_.UsePolicy(&versions_.policy());
  Unpark(kInfiniteFuture);
  if (versions_.kv_policy() == KvPolicy::kPin) return;
  // Their next step leaves the version that prepared their inputs; who is idle
  // would keep it for long.
  for (Session* session = store_.table().OldestResident(); session != nullptr;
       session = SessionTable::NextResident(session)) {
    store_.blocks().ForgetInputs(session);
  }
}

FireTime Executor::NextFire(MonotonicTime now) {
  FireConditions conditions;
  conditions.now = now;
  conditions.expected_batch = expected_batch_;
  conditions.is_draining = is_draining_;
  const MonotonicDuration wait = patience_.Wait(expected_batch_);
  if (wait > MonotonicDuration::zero() && !ready_.empty()) {
    conditions.num_recent_idle =
        store_.table().CountRecent(now - patience_.Window(expected_batch_));
    const Session* newest = store_.table().NewestIdle();
    conditions.wait_until =
        wait + (patience_.counts_from_answer() && newest != nullptr
                    ? newest->last_use
                    : ready_.OldestSubmitted());
  }
  FireTime fire = ready_.NextFire(conditions);
  if (!parked_.empty()) fire.at = std::min(fire.at, parked_.begin()->first);
  return fire;
}

void Executor::RunBatch(MonotonicTime now) {
  BatchRecord record;
  record.fire_reason = NextFire(now).reason;
  FormBatch(now);
  MonotonicTime end = now;
  if (!batch_works_.empty()) {
    const MonotonicTime start = clock_->Now();
    const absl::Status status = Forward();
    end = clock_->Now();
    record.forward = end - start;
    record.num_sessions = static_cast<int>(batch_works_.size());
    record.num_tokens = batch_tokens_;
    num_completed_ = 0;
    if (status.ok()) {
      AdvanceBatch(end);
    } else {
      FailBatch(status, end);
    }
    record.num_steps_completed = num_completed_;
    expected_batch_ = expected_batch_ == MonotonicDuration::zero()
                          ? record.forward
                          : (3 * expected_batch_ + record.forward) / 4;
    observer_->OnBatch(record);
  }
  DeliverFinished(end);
}

MonotonicTime Executor::NextExpiry() const {
  const Session* oldest = store_.table().OldestIdle();
  if (oldest == nullptr || options_.idle_timeout == MonotonicDuration::max()) {
    return kInfiniteFuture;
  }
  return oldest->last_use + options_.idle_timeout;
}

void Executor::ExpireIdle(MonotonicTime now) {
  const SessionEnd end =
      journal_.exists() ? SessionEnd::kStored : SessionEnd::kExpired;
  int num_expired = 0;
  std::string first;
  while (num_expired < kMaxExpiredAtOnce && NextExpiry() <= now) {
    Session* session = store_.table().OldestIdle();
    if (num_expired == 0) first = session->actor_id;
    store_.End(end, session);
    store_.table().Erase(session);
    ++num_expired;
  }
  if (num_expired == 0) return;
  observer_->OnExpiry(num_expired, first);
  observer_->OnGauges(options_.index, gauges());
}

std::int64_t Executor::TakeNumFinished() {
  return std::exchange(num_finished_, 0);
}

ExecutorGauges Executor::gauges() const {
  ExecutorGauges gauges;
  gauges.num_sessions = store_.num_open();
  gauges.num_blocks_used = pool().num_used();
  gauges.num_blocks = pool().num_blocks();
  gauges.num_queued = num_unfinished_;
  return gauges;
}

// Single steps first, then long work in proportion. Whoever is passed over
// comes first in the next batch, so neither can starve the other.
void Executor::FormBatch(MonotonicTime now) {
  ClearBatch();
  Unpark(now);
  const std::int64_t max_tokens = options_.batching.max_batch_tokens;
  const std::int64_t half = std::max<std::int64_t>(1, max_tokens / 2);
  if (overdue_ != nullptr) TakeOverdue(now);
  if (were_longs_passed_over_ && !ready_.longs().empty()) {
    TakeFrom(ready_.longs(), half, now);
  }
  const std::int64_t long_tokens = batch_tokens_;
  TakeFrom(ready_.singles(), max_tokens, now);
  const std::int64_t single_tokens = batch_tokens_ - long_tokens;
  const std::int64_t share =
      single_tokens == 0 ? max_tokens : std::max(kMinLongTokens, single_tokens);
  TakeFrom(ready_.longs(), std::min(max_tokens, batch_tokens_ + share), now);

  // Everything that is ready waits for blocks of the others.
  if (batch_works_.empty() && !ready_.empty()) {
    overdue_ = ready_.longs().empty() ? ready_.singles().front()
                                      : ready_.longs().front();
    TakeOverdue(now);
  }
  were_longs_passed_over_ =
      !ready_.longs().empty() &&
      std::none_of(batch_works_.begin(), batch_works_.end(),
                   [](const Work* work) { return !work->is_single; });
}

void Executor::ClearBatch() {
  for (SessionSlice& slice : batch_.slices) {
    spare_slices_.push_back(std::move(slice));
  }
  batch_.slices.clear();
  batch_.outputs = 0;
  batch_works_.clear();
  batch_version_ = nullptr;
  batch_tokens_ = 0;
  batch_rows_ = 0;
}

// Takes steps from the front of a list until the batch has `max_tokens`.
void Executor::TakeFrom(const ReadyQueue::List& list, std::int64_t max_tokens,
                        MonotonicTime now) {
  Work* work = list.front();
  while (work != nullptr) {
    Work* next = ReadyQueue::List::Next(work);
    if (TryTake(work, max_tokens, now) == Taken::kNoRoom) return;
    work = next;
  }
}

// Takes blocks away from whoever only waits, so that the step that has waited
// longest can run.
void Executor::TakeOverdue(MonotonicTime now) {
  Work* work = overdue_;
  if (CheckWanted(work->step(), now).ok() && admission_.Check(*work).ok()) {
    EvictWaiting(work);
  }
  TryTake(work, options_.batching.max_batch_tokens, now);
}

Executor::Taken Executor::TryTake(Work* work, std::int64_t max_tokens,
                                  MonotonicTime now) {
  const bool is_first = batch_works_.empty();
  if (static_cast<int>(batch_works_.size()) >=
      options_.batching.max_batch_sessions) {
    return Taken::kNoRoom;
  }
  absl::Status wanted = CheckWanted(work->step(), now);
  if (!wanted.ok()) {
    Fail(work, std::move(wanted), now);
    return Taken::kNo;
  }
  RunningVersion* version = FindVersion(work, now);
  if (version == nullptr) return Taken::kNo;
  // A step is never split: the first one may exceed the limit.
  const std::int64_t room = max_tokens - batch_tokens_;
  if (!is_first && slicer_.SmallestSlice(*work) > room) return Taken::kNoRoom;
  if (!work->is_started) {
    if (!TryStart(work, version, now)) return Taken::kNo;
  } else if (absl::Status moved = GoOnUnder(version, work); !moved.ok()) {
    Fail(work, std::move(moved), now);
    return Taken::kNo;
  }
  ready_.Remove(work);
  if (overdue_ == work) overdue_ = nullptr;
  batch_version_ = version;
  AddSlice(work, room);
  return Taken::kYes;
}

// The version that the next slice of `work` runs under. nullptr: the batch is
// of another one, `work` waits for a newer one, or it failed.
RunningVersion* Executor::FindVersion(Work* work, MonotonicTime now) {
  Session* session = work->session;
  RunningVersion* version = work->version;
  const bool begins = versions_.has_several() && slicer_.BeginsContext(*work);
  if (!work->is_started || begins) {
    const absl::StatusOr<RunningVersion*> choice = versions_.Choose(
        session->version, session->actor_hash, work->step().version, begins);
    if (choice.ok() && *choice != nullptr) {
      version = *choice;
    } else if (!work->is_started) {
      if (choice.ok()) {
        Park(work, now);
      } else {
        Fail(work, choice.status(), now);
      }
      return nullptr;
    }
  }
  if (MustRecompute(*work, *version)) {
    ForgetCached(session);
    session->prepared_inputs.reset();
    versions_.Join(version, &session->version);
    ready_.Remove(work);
    MakeReady(work);  // what was a single step is a rebuild now
    return nullptr;
  }
  const bool fits = batch_version_ == nullptr || batch_version_ == version;
  return fits ? version : nullptr;
}

bool Executor::MustRecompute(const Work& work,
                             const RunningVersion& version) const {
  const Session& session = *work.session;
  return versions_.kv_policy() == KvPolicy::kRecompute && !work.is_started &&
         session.num_cached_tokens > 0 &&
         session.version.number() != version.number();
}

// `work` waits for a newer version, but not beyond its deadline.
void Executor::Park(Work* work, MonotonicTime now) {
  const StepTask& task = work->step();
  if (is_draining_) {
    Fail(work,
         RetryableError(absl::StatusCode::kUnavailable, reason::kDraining,
                        "the server is draining", absl::Seconds(1)),
         now);
    return;
  }
  const MonotonicTime last = task.deadline == kInfiniteFuture
                                 ? kInfiniteFuture
                                 : task.deadline - kAnswerMargin;
  if (last <= now) {
    Fail(work,
         Error(absl::StatusCode::kFailedPrecondition, reason::kModelVersion,
               absl::StrCat("no version from ", task.version.min_version,
                            " on came in time")),
         now);
    return;
  }
  ready_.Remove(work);
  if (overdue_ == work) overdue_ = nullptr;
  parked_.emplace(std::min(last, now + kParkedLook), work);
}

// Steps that were to be looked at again by then try once more.
void Executor::Unpark(MonotonicTime until) {
  while (!parked_.empty() && parked_.begin()->first <= until) {
    Work* work = parked_.begin()->second;
    parked_.erase(parked_.begin());
    MakeReady(work);
  }
}

// The next steps of `work` in about `max_tokens` tokens.
void Executor::AddSlice(Work* work, std::int64_t max_tokens) {
  SessionSlice& slice = NextSlice();
  const std::int64_t old_begin = work->cached.begin;
  slicer_.Fill(work, max_tokens, &slice);
  // The old context is gone, whatever becomes of the task.
  if (work->cached.begin != old_begin) ForgetCached(work->session);
  batch_works_.push_back(work);
  batch_tokens_ += work->slice_tokens();
  batch_rows_ += work->slice_rows;
  batch_.outputs |= PolicyOutputs(spec_, work->step().outputs);
}

SessionSlice& Executor::NextSlice() {
  if (spare_slices_.empty()) {
    batch_.slices.emplace_back();
  } else {
    batch_.slices.push_back(std::move(spare_slices_.back()));
    spare_slices_.pop_back();
  }
  return batch_.slices.back();
}

void Executor::MakeReady(Work* work) {
  work->num_ready_tokens = slicer_.TokensLeft(*work);
  work->is_single = slicer_.IsSingle(*work);
  ready_.Push(work);
}

// Gives `work` all it needs to run to its end: a place among the sessions,
// blocks for all of its tokens, the session's inputs. False: it failed, or
// waits for blocks.
bool Executor::TryStart(Work* work, RunningVersion* version,
                        MonotonicTime now) {
  Session* session = work->session;
  absl::Status status = admission_.Check(*work);
  if (status.ok() && !IsEvaluation(*work)) status = store_.Open(session);
  if (!status.ok()) {
    Fail(work, std::move(status), now);
    return false;
  }
  // What is overdue gets the next free blocks.
  const bool may_reserve =
      overdue_ == nullptr || overdue_ == work || work->is_single;
  if (!may_reserve || !ReserveBlocks(*work)) {
    ++work->num_batches_blocked;
    if (overdue_ == nullptr &&
        work->num_batches_blocked >= kMaxBatchesBlocked) {
      overdue_ = work;
    }
    return false;
  }
  if (session->num_steps() == 0) {
    session->session_inputs = TakeInputs(&work->step());
  }
  status = GoOnUnder(version, work);
  if (!status.ok()) {
    Fail(work, std::move(status), now);
    return false;
  }
  work->is_started = true;
  work->cached = session->cached();
  work->context_versions = session->version.cached;
  work->started = now;
  work->was_rebuilt = !session->is_cached();
  work->reply.served_from = TierOf(*session);
  return true;
}

// The next slices of `work` run under `version`. A pinned session follows when
// the task is done: until then it may have to go on with its context.
absl::Status Executor::GoOnUnder(RunningVersion* version, Work* work) {
  Session* session = work->session;
  const std::uint64_t made_inputs = work->version == nullptr
                                        ? session->version.number()
                                        : work->version->number();
  if (made_inputs != version->number()) session->prepared_inputs.reset();
  const bool is_pinned = versions_.kv_policy() == KvPolicy::kPin &&
                         session->num_steps() > 0 &&
                         session->version.held != nullptr;
  if (!is_pinned) versions_.Join(version, &session->version);
  versions_.Use(version, &work->version);
  return PrepareInputs(*work);
}

// Where the session has none: it is new, or lost them with its blocks.
absl::Status Executor::PrepareInputs(const Work& work) {
  Session* session = work.session;
  if (spec_.session_fields.empty() || session->prepared_inputs != nullptr) {
    return absl::OkStatus();
  }
  try {
    auto prepared = work.version->runner->PrepareInputs(InputsOf(*session));
    if (!prepared.ok()) return ComputationFailed(Report(prepared.status()));
    session->prepared_inputs = *std::move(prepared);
    return absl::OkStatus();
  } catch (const std::exception& e) {  // std::bad_alloc above all
    return ComputationFailed(Report(absl::InternalError(e.what())));
  }
}

bool Executor::ReserveBlocks(const Work& work) {
  return store_.blocks().Reserve(slicer_.MostTokens(work),
                                 slicer_.KeptTokens(work), work.session);
}

// Takes the blocks of steps that have not started, latest first, until
// `beneficiary` can have what it needs.
void Executor::EvictWaiting(Work* beneficiary) {
  for (const auto& [look, parked] : parked_) {
    if (ReserveBlocks(*beneficiary)) return;
    store_.blocks().Evict(parked->session);
  }
  for (const ReadyQueue::List* list : {&ready_.singles(), &ready_.longs()}) {
    Work* work = list->back();
    while (work != nullptr && !ReserveBlocks(*beneficiary)) {
      Work* previous = ReadyQueue::List::Previous(work);
      if (work != beneficiary) EvictUnlessStarted(work);
      work = previous;
    }
  }
}

void Executor::EvictUnlessStarted(Work* work) {
  if (work->is_started || work->session->blocks.empty()) return;
  store_.blocks().Evict(work->session);
  ready_.Remove(work);
  MakeReady(work);  // what was a single step is a rebuild now
}

absl::Status Executor::Forward() {
  result_.num_rows = 0;
  try {
    const absl::Status status =
        batch_version_->runner->Forward(batch_, &result_);
    return status.ok() ? CheckResult() : status;
  } catch (const std::exception& e) {  // std::bad_alloc above all
    return absl::InternalError(e.what());
  }
}

absl::Status Executor::CheckResult() const {
  const auto rows = static_cast<std::size_t>(batch_rows_);
  bool is_complete = result_.num_rows == batch_rows_ &&
                     result_.scores.size() ==
                         rows * static_cast<std::size_t>(spec_.num_actions);
  for (std::size_t i = 0; is_complete && i < spec_.outputs.size(); ++i) {
    if ((batch_.outputs >> i & 1) == 0) continue;
    is_complete =
        i < result_.outputs.size() &&
        result_.outputs[i].size() ==
            rows * static_cast<std::size_t>(spec_.outputs[i].num_elements());
  }
  if (is_complete) return absl::OkStatus();
  return absl::InternalError("the policy's result lacks rows");
}

// Clients are told an id; what happened is for the log.
std::string Executor::Report(const absl::Status& status) {
  std::string id = absl::StrCat("e", options_.index, "-", ++num_failures_);
  observer_->OnForwardError(id, status);
  return id;
}

void Executor::FailBatch(const absl::Status& status, MonotonicTime now) {
  const std::string id = Report(status);
  for (Work* work : batch_works_) {
    // Each its own: copies of a status share memory, and threads free them.
    Fail(work, ComputationFailed(id), now);
  }
}

void Executor::AdvanceBatch(MonotonicTime now) {
  std::int64_t row = 0;
  for (std::size_t i = 0; i < batch_works_.size(); ++i) {
    Work* work = batch_works_[i];
    Session& session = *work->session;
    work->context_versions.Extend(
        work->version->number(),
        spec_.kv_bytes_per_token == 0 ? 0 : work->cached.num_tokens);
    if (work->cached.begin == session.window_start) {
      session.num_cached_steps += work->slice_old_steps;
      session.num_cached_tokens += work->slice_old_tokens;
      session.version.cached = work->context_versions;
    }
    work->cached.end +=
        static_cast<std::int64_t>(batch_.slices[i].steps.size());
    work->cached.num_tokens += work->slice_tokens();
    absl::Status status = AnswerRows(spec_, result_, row, work);
    row += work->slice_rows;
    work->num_steps_done += work->slice_new_steps;
    if (!status.ok()) {
      Fail(work, std::move(status), now);
    } else if (work->num_steps_done == work->step().steps.size()) {
      CompleteReply(work);
      if (IsEvaluation(*work)) {
        Commit(work, now);
      } else {
        computed_.push_back(work);
      }
    } else {
      MakeReady(work);
    }
  }
  CommitComputed(now);
}

void Executor::CompleteReply(Work* work) {
  const StepTask& task = work->step();
  const Session& session = *work->session;
  work->reply.step_index =
      static_cast<std::uint64_t>(session.num_steps()) + task.steps.size();
  work->reply.epoch = session.epoch;
  work->reply.model_version = work->version->number();
  work->reply.context_version_min = work->context_versions.min;
  work->reply.context_version_max = work->context_versions.max;
  if (!task.step_index.has_value()) return;
  work->answered = std::make_unique<AnsweredTask>();
  work->answered->step_index = *task.step_index;
  work->answered->content_hash = ContentHash(task);
  work->answered->reply = work->reply;
}

// What the journal has not taken did not happen.
void Executor::CommitComputed(MonotonicTime now) {
  journal_.Write(computed_);
  for (Work* work : computed_) {
    if (work->status.ok()) {
      Commit(work, now);
      continue;
    }
    if (work->is_taken_over) {
      store_.End(SessionEnd::kTakenOver, work->session);
      work->session->is_looked_up = false;
    }
    Fail(work, std::move(work->status), now);
  }
  computed_.clear();
}

// The whole task is computed: its steps become steps of the session.
void Executor::Commit(Work* work, MonotonicTime now) {
  Session& session = *work->session;
  session.log.Append(work->step().steps);
  session.log.DropBefore(work->cached.begin);
  session.window_start = work->cached.begin;
  session.num_tokens = work->cached.num_tokens;
  session.num_cached_steps = session.num_steps();
  session.num_cached_tokens = session.num_tokens;
  session.answered = std::move(work->answered);
  session.is_from_journal = false;
  store_.blocks().Trim(session.num_tokens, &session);
  versions_.Join(work->version, &session.version);
  session.version.cached = work->context_versions;
  if (spec_.recomputes) {
    store_.blocks().Drop(&session);
    store_.blocks().ForgetInputs(&session);
  }
  num_completed_ += static_cast<int>(work->step().steps.size());
  if (IsEvaluation(*work)) {
    store_.Empty(&session);
  } else if (work->step().is_ephemeral) {
    store_.End(SessionEnd::kEphemeral, &session);
  }
  Finish(work, now);
}

// The session is as it was before the task; what the task wrote into blocks
// beyond the cached tokens is simply not counted.
void Executor::Fail(Work* work, absl::Status status, MonotonicTime now) {
  if (ReadyQueue::List::Has(work)) ready_.Remove(work);
  if (overdue_ == work) overdue_ = nullptr;
  Session* session = work->session;
  store_.blocks().Trim(session->num_cached_tokens, session);
  if (work->version != nullptr &&
      work->version->number() != session->version.number()) {
    session->prepared_inputs.reset();
  }
  if (session->num_steps() == 0) store_.Empty(session);
  work->status = std::move(status);
  Finish(work, now);
}

void Executor::Finish(Work* work, MonotonicTime now) {
  Session* session = work->session;
  assert(session->first_work == work);
  session->first_work = work->next_of_session;
  versions_.Use(nullptr, &work->version);
  finished_.push_back(work);
  ServeNext(session, now);
}

// Makes the session's next step ready; tasks before it that need no
// computation run here.
void Executor::ServeNext(Session* session, MonotonicTime now) {
  while (Work* work = session->first_work) {
    work->status = journal_.LookUp(session);
    if (!work->is_step()) {
      session_tasks_.Run(work, now);
    } else if (work->status.ok() && MustCompute(work, now)) {
      MakeReady(work);
      return;
    }
    session->first_work = work->next_of_session;
    finished_.push_back(work);
  }
  if (session->num_steps() == 0) {
    store_.Empty(session);
    store_.table().Erase(session);
  } else {
    store_.table().MarkIdle(session, now);
  }
}

// False: the step has its answer, or its error, already.
bool Executor::MustCompute(Work* work, MonotonicTime now) {
  Session* session = work->session;
  const StepTask& task = work->step();
  absl::StatusOr<StepOrder> order = OrderOf(task, *session);
  if (!order.ok() && session->num_steps() > 0) {
    work->status = journal_.Refresh(session);
    if (!work->status.ok()) return false;
    order = OrderOf(task, *session);
  }
  if (!order.ok()) {
    work->status = order.status();
    return false;
  }
  if (*order == StepOrder::kRepeated) {
    work->reply = session->answered->reply;
    work->was_repeated = true;
    work->started = now;
    return false;
  }
  if (*order == StepOrder::kNewEpoch) {
    work->status = CheckWanted(task, now);
    if (!work->status.ok()) return false;
    store_.End(SessionEnd::kReset, session);
  }
  if (session->num_steps() == 0) {
    session->epoch = task.epoch.has_value() ? *task.epoch : store_.NextEpoch();
  }
  return true;
}

// Last of all, when every session is in order again.
void Executor::DeliverFinished(MonotonicTime now) {
  for (Work* work : finished_) {
    Deliver(work, now);
    works_.Free(work);
  }
  const auto num_finished = static_cast<std::int64_t>(finished_.size());
  finished_.clear();
  num_finished_ += num_finished;
  num_unfinished_ -= num_finished;
  observer_->OnGauges(options_.index, gauges());
}

void Executor::Deliver(Work* work, MonotonicTime now) {
  if (!work->status.ok()) observer_->OnError(ReasonOf(work->status));
  if (!work->is_step()) {
    work->delivery(std::move(work->status));
    return;
  }
  StepTask& task = work->step();
  if (!work->status.ok()) {
    task.done(std::move(work->status));
    return;
  }
  StepRecord record;
  record.queue_wait = work->started - work->submitted;
  record.latency = now - work->submitted;
  record.num_steps = static_cast<int>(task.steps.size());
  record.was_rebuilt = work->was_rebuilt;
  record.was_repeated = work->was_repeated;
  observer_->OnStep(record);
  task.done(std::move(work->reply));
}

}  // namespace stepd
