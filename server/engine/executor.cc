// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/executor.h"

#include <algorithm>
#include <cassert>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <variant>

#include "server/common/error.h"
#include "server/engine/answer.h"
#include "server/engine/step_order.h"

namespace stepd {
namespace {

// Beside single steps, long work takes as many tokens as they do, so that it
// at most doubles their time; but at least so many, which cost hardly more
// than a few. So it does between them, too: whoever was answered just now comes
// back while it runs.
constexpr std::int64_t kMinLongTokens = 16;
constexpr MonotonicDuration kJustNow = std::chrono::milliseconds(10);

// Batches that may overtake a step which waits for blocks.
constexpr int kMaxBatchesBlocked = 4;

// Sessions that expire in one go: the loop comes back for more.
constexpr int kMaxExpiredAtOnce = 256;

}  // namespace

Executor::Executor(Parts parts, const ExecutorOptions& options)
    : spec_(parts.version->policy()->spec()),
      options_(options),
      observer_(parts.observer),
      clock_(parts.clock),
      versions_(std::move(parts.version), std::move(parts.runner),
                options.kv_policy,
                /*are_all_held=*/!spec_.session_fields.empty()),
      store_(
          spec_,
          {&versions_, parts.budget, parts.observer, parts.journal != nullptr},
          options.num_blocks, options.first_epoch),
      journal_(parts.journal, &store_, parts.clock),
      trajectories_(parts.finished_steps),
      session_tasks_(options.index, &store_, &journal_),
      slicer_(spec_, &versions_.policy(), options.context),
      admission_(spec_, slicer_, options.context, store_.blocks()),
      failures_(options.index, parts.observer),
      starter_(
          {&spec_, &admission_, &slicer_, &versions_, &store_, &failures_}),
      ready_(options.batching),
      patience_(options.batching.max_wait),
      batch_(spec_, slicer_) {}

Executor::~Executor() { assert(num_unfinished_ == 0); }

void Executor::Admit(QueuedTask task, MonotonicTime now) {
  if (session_tasks_.TryAnswer(&task.task, now)) {
    ++num_finished_;
    return;
  }
  Session* session = store_.table().FindOrCreate(ActorOf(task.task));
  if (session->num_steps() > 0 && session->first_work == nullptr) {
    patience_.OnReturn(task.submitted - session->last_use, expected_batch_);
  }
  store_.table().MarkBusy(session);
  Work* work = works_.New();
  work->task = std::move(task.task);
  work->submitted = task.submitted;
  work->session = session;
  if (work->is_evaluation()) session->is_looked_up = true;
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
  // The next step of who is not pinned leaves the version that prepared its
  // inputs; who is idle would keep it for long.
  for (Session* session = store_.table().OldestResident(); session != nullptr;
       session = SessionTable::NextResident(session)) {
    if (versions_.KvPolicyOf(session->version) != KvPolicy::kPin) {
      store_.blocks().ForgetInputs(session);
    }
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
  fire.at = std::min(fire.at, parked_.next_look());
  return fire;
}

void Executor::RunBatch(MonotonicTime now) {
  BatchRecord record;
  record.fire_reason = NextFire(now).reason;
  FormBatch(now);
  MonotonicTime end = now;
  if (!batch_.empty()) {
    const MonotonicTime start = clock_->Now();
    const absl::Status status = batch_.Forward();
    end = clock_->Now();
    record.forward = end - start;
    record.num_sessions = static_cast<int>(batch_.works().size());
    record.num_tokens = batch_.num_tokens();
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
  batch_.Clear();
  Unpark(now);
  const std::int64_t max_tokens = options_.batching.max_batch_tokens;
  const std::int64_t half = std::max<std::int64_t>(1, max_tokens / 2);
  if (overdue_ != nullptr) TakeOverdue(now);
  if (were_longs_passed_over_ && !ready_.longs().empty()) {
    TakeFrom(ready_.longs(), half, now);
  }
  const std::int64_t long_tokens = batch_.num_tokens();
  TakeFrom(ready_.singles(), max_tokens, now);
  TakeFrom(ready_.longs(),
           std::min(max_tokens,
                    batch_.num_tokens() +
                        LongShare(batch_.num_tokens() - long_tokens, now)),
           now);

  // Everything that is ready waits for blocks of the others.
  if (batch_.empty() && !ready_.empty()) {
    overdue_ = ready_.longs().empty() ? ready_.singles().front()
                                      : ready_.longs().front();
    TakeOverdue(now);
  }
  were_longs_passed_over_ =
      !ready_.longs().empty() &&
      std::none_of(batch_.works().begin(), batch_.works().end(),
                   [](const Work* work) { return !work->is_single; });
}

// Tokens for long work, beside `single_tokens` of single steps.
std::int64_t Executor::LongShare(std::int64_t single_tokens,
                                 MonotonicTime now) {
  if (single_tokens > 0) {
    last_single_tokens_ = single_tokens;
    singles_until_ = now + kJustNow;
  } else if (singles_until_ <= now) {
    return options_.batching.max_batch_tokens;
  }
  return std::max(kMinLongTokens, last_single_tokens_);
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
  if (static_cast<int>(batch_.works().size()) >=
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
  const std::int64_t room = max_tokens - batch_.num_tokens();
  if (!batch_.empty() && slicer_.SmallestSlice(*work) > room) {
    return Taken::kNoRoom;
  }
  if (!work->is_started) {
    if (!TryStart(work, version, now)) return Taken::kNo;
  } else if (absl::Status moved = starter_.GoOnUnder(version, work);
             !moved.ok()) {
    Fail(work, std::move(moved), now);
    return Taken::kNo;
  }
  ready_.Remove(work);
  if (overdue_ == work) overdue_ = nullptr;
  batch_.Add(work, version, room);
  return Taken::kYes;
}

// The version that the next slice of `work` runs under. nullptr: the batch is
// of another one, `work` waits for a newer one, or it failed.
RunningVersion* Executor::FindVersion(Work* work, MonotonicTime now) {
  const absl::StatusOr<RunningVersion*> version = starter_.ChooseVersion(*work);
  if (!version.ok()) {
    Fail(work, version.status(), now);
    return nullptr;
  }
  if (*version == nullptr) {
    Park(work, now);
    return nullptr;
  }
  if (starter_.DropOutdated(*version, *work)) {
    ready_.Remove(work);
    MakeReady(work);  // what was a single step is a rebuild now
    return nullptr;
  }
  const bool fits = batch_.empty() || batch_.version() == *version;
  return fits ? *version : nullptr;
}

// `work` waits for a newer version.
void Executor::Park(Work* work, MonotonicTime now) {
  absl::Status status = is_draining_ ? Draining() : parked_.Park(work, now);
  if (!status.ok()) {
    Fail(work, std::move(status), now);
    return;
  }
  ready_.Remove(work);
  if (overdue_ == work) overdue_ = nullptr;
}

// Steps that were to be looked at again by then try once more.
void Executor::Unpark(MonotonicTime until) {
  while (Work* work = parked_.Take(until)) MakeReady(work);
}

void Executor::MakeReady(Work* work) {
  work->num_ready_tokens = slicer_.TokensLeft(*work);
  work->is_single = slicer_.IsSingle(*work);
  ready_.Push(work);
}

// Gives `work` all it needs to run to its end. False: it failed, or waits for
// blocks.
bool Executor::TryStart(Work* work, RunningVersion* version,
                        MonotonicTime now) {
  absl::Status status = starter_.Admit(*work);
  if (!status.ok()) {
    Fail(work, std::move(status), now);
    return false;
  }
  // What is overdue gets the next free blocks.
  const bool may_reserve =
      overdue_ == nullptr || overdue_ == work || work->is_single;
  if (!may_reserve || !starter_.ReserveBlocks(*work)) {
    ++work->num_batches_blocked;
    if (overdue_ == nullptr &&
        work->num_batches_blocked >= kMaxBatchesBlocked) {
      overdue_ = work;
    }
    return false;
  }
  status = starter_.Start(version, now, work);
  if (!status.ok()) Fail(work, status, now);
  return status.ok();
}

// Takes the blocks of steps that have not started, latest first, until
// `beneficiary` can have what it needs.
void Executor::EvictWaiting(Work* beneficiary) {
  for (const auto& [look, parked] : parked_.all()) {
    if (starter_.ReserveBlocks(*beneficiary)) return;
    store_.blocks().Evict(parked->session);
  }
  for (const ReadyQueue::List* list : {&ready_.singles(), &ready_.longs()}) {
    Work* work = list->back();
    while (work != nullptr && !starter_.ReserveBlocks(*beneficiary)) {
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

void Executor::FailBatch(const absl::Status& status, MonotonicTime now) {
  const std::string id = failures_.Report(status);
  for (Work* work : batch_.works()) {
    // Each its own: copies of a status share memory, and threads free them.
    Fail(work, FailureLog::Told(id), now);
  }
}

void Executor::AdvanceBatch(MonotonicTime now) {
  std::int64_t row = 0;
  for (std::size_t i = 0; i < batch_.works().size(); ++i) {
    Work* work = batch_.works()[i];
    Session& session = *work->session;
    work->context_versions.Extend(
        work->version->number(),
        spec_.kv_bytes_per_token == 0 ? 0 : work->cached.num_tokens);
    if (work->cached.begin == session.window_start()) {
      session.num_cached_steps += work->slice_old_steps;
      session.num_cached_tokens += work->slice_old_tokens;
      // New steps are none of the session's as long as the task may fail.
      if (work->slice_old_tokens > 0) {
        session.version.cached = work->context_versions;
      }
    }
    work->cached.end += static_cast<std::int64_t>(batch_.slice(i).steps.size());
    work->cached.num_tokens += work->slice_tokens();
    absl::Status status = AnswerRows(spec_, batch_.result(), row, work);
    row += work->slice_rows;
    work->num_steps_done += work->slice_new_steps;
    if (!status.ok()) {
      Fail(work, std::move(status), now);
    } else if (work->num_steps_done == work->step().steps.size()) {
      CompleteReply(work);
      if (work->is_evaluation()) {
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
  if (spare_answers_.empty()) {
    work->answered = std::make_unique<AnsweredTask>();
  } else {
    work->answered = std::move(spare_answers_.back());
    spare_answers_.pop_back();
  }
  work->answered->step_index = *task.step_index;
  // The session has taken the inputs of the task that opens it.
  work->answered->content_hash = ContentHash(
      task, session.num_steps() == 0 ? InputsOf(session) : absl::string_view());
  work->answered->reply = work->reply;
}

// What the journal has not taken did not happen.
void Executor::CommitComputed(MonotonicTime now) {
  journal_.Write(computed_);
  for (Work* work : computed_) {
    if (work->status.ok()) {
      trajectories_.Add(*work);
      Commit(work, now);
      continue;
    }
    LeaveToJournal(work);
    Fail(work, std::move(work->status), now);
  }
  computed_.clear();
  trajectories_.Tell();
}

// Of a session that another server has, or of which one epoch or the next is in
// the journal, nothing is kept: the next task reads what is there.
void Executor::LeaveToJournal(Work* work) {
  if (!work->is_taken_over && work->previous == nullptr) return;
  PutBackPrevious(work);
  if (work->is_taken_over) {
    store_.End(SessionEnd::kTakenOver, work->session);
  } else {
    store_.Empty(work->session);
  }
  work->session->is_looked_up = false;
}

// The whole task is computed: its steps become steps of the session.
void Executor::Commit(Work* work, MonotonicTime now) {
  Session& session = *work->session;
  if (work->previous != nullptr) {
    store_.EndAside(SessionEnd::kReset, std::move(work->previous), session);
  }
  session.log.Append(work->step().steps);
  session.log.DropBefore(work->cached.begin);
  session.num_tokens = work->cached.num_tokens;
  session.num_cached_steps = session.num_steps();
  session.num_cached_tokens = session.num_tokens;
  session.answered.swap(work->answered);
  if (work->answered != nullptr) {
    spare_answers_.push_back(std::move(work->answered));
  }
  session.is_from_journal = false;
  store_.blocks().Trim(session.num_tokens, &session);
  if (const auto& kv_policy = work->step().version.kv_policy) {
    session.version.kv_policy = kv_policy;
  }
  versions_.Join(work->version, &session.version);
  session.version.cached = work->context_versions;
  if (spec_.recomputes) {
    store_.blocks().Drop(&session);
    store_.blocks().ForgetInputs(&session);
  }
  num_completed_ += static_cast<int>(work->step().steps.size());
  if (work->is_evaluation()) {
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
  if (work->version != nullptr &&
      work->version->number() != session->version.number()) {
    // What a version that the session does not follow has made.
    session->prepared_inputs.reset();
    ForgetCached(session);
  }
  store_.blocks().Trim(session->num_cached_tokens, session);
  PutBackPrevious(work);
  if (session->num_steps() == 0) {
    store_.Empty(session);
    // The journal may have taken what could not be told.
    session->is_looked_up = false;
  }
  work->status = std::move(status);
  Finish(work, now);
}

// The step has not begun the session's next epoch after all.
void Executor::PutBackPrevious(Work* work) {
  if (work->previous == nullptr) return;
  store_.PutBack(std::move(work->previous), work->session);
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
    work->previous = store_.SetAside(session);
  }
  if (session->num_steps() == 0) {
    session->epoch = task.epoch.has_value() ? *task.epoch : store_.NextEpoch();
  }
  return true;
}

// Says of each reply whether its stream has another one to come.
void Executor::MarkFollowed() {
  streams_.clear();
  for (auto it = finished_.rbegin(); it != finished_.rend(); ++it) {
    Work& work = **it;
    if (!work.is_step() || !work.status.ok()) continue;
    const void* stream = work.step().stream;
    if (stream == nullptr) continue;
    work.reply.is_followed = !streams_.insert(stream).second;
  }
}

// Last of all, when every session is in order again.
void Executor::DeliverFinished(MonotonicTime now) {
  MarkFollowed();
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
