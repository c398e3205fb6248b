// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/session_store.h"

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/common/error.h"

namespace stepd {
namespace {

// Ended sessions that are remembered.
constexpr std::size_t kMaxEnded = 1024;

}  // namespace

SessionStore::SessionStore(const PolicySpec& spec, const Parts& parts,
                           std::int32_t num_blocks, std::uint64_t first_epoch)
    : versions_(*parts.versions),
      budget_(parts.budget),
      observer_(parts.observer),
      has_journal_(parts.has_journal),
      table_({StepLayout(spec.fields).fixed_bytes(), spec.num_prefix_tokens}),
      blocks_(spec, num_blocks, parts.versions, &table_, observer_),
      next_epoch_(first_epoch) {}

SessionStore::~SessionStore() { budget_->Release(num_open_); }

absl::Status SessionStore::Open(Session* session) {
  if (session->is_open) return absl::OkStatus();
  bool has_place = budget_->TryAcquire();
  Session* oldest = table_.OldestIdle();
  if (!has_place && has_journal_ && oldest != nullptr) {
    End(SessionEnd::kStored, oldest);
    table_.Erase(oldest);
    has_place = budget_->TryAcquire();
  }
  if (!has_place) {
    return Error(absl::StatusCode::kResourceExhausted, reason::kSessionsFull,
                 "as many sessions as allowed are open");
  }
  session->is_open = true;
  ++num_open_;
  return absl::OkStatus();
}

void SessionStore::End(SessionEnd end, Session* session) {
  NoteEnd(end, session->actor_id, *session);
  Empty(session);
}

void SessionStore::Empty(Session* session) {
  Clear(session);
  if (!session->is_open) return;
  session->is_open = false;
  --num_open_;
  budget_->Release(1);
}

std::unique_ptr<SessionState> SessionStore::SetAside(Session* session) {
  blocks_.Drop(session);
  blocks_.ForgetInputs(session);
  auto state = std::make_unique<SessionState>(
      std::move(static_cast<SessionState&>(*session)));
  session->version = ContextVersion();  // it is the other's now
  Clear(session);
  return state;
}

void SessionStore::PutBack(std::unique_ptr<SessionState> state,
                           Session* session) {
  Clear(session);
  static_cast<SessionState&>(*session) = std::move(*state);
  session->num_cached_steps = session->window_start();
}

void SessionStore::EndAside(SessionEnd end, std::unique_ptr<SessionState> state,
                            const Session& session) {
  NoteEnd(end, session.actor_id, *state);
  versions_.Leave(&state->version);
}

void SessionStore::NoteEnd(SessionEnd end, absl::string_view actor_id,
                           const SessionState& state) {
  EndedSession ended;
  ended.actor_id = std::string(actor_id);
  ended.end = end;
  ended.epoch = state.epoch;
  ended.num_steps = state.num_steps();
  ended.time = absl::Now();
  if (ended_.size() == kMaxEnded) ended_.pop_front();
  ended_.push_back(std::move(ended));
  observer_->OnSessionEnd(end);
}

void SessionStore::Clear(Session* session) {
  blocks_.Drop(session);
  versions_.Leave(&session->version);
  static_cast<SessionState&>(*session) = SessionState(table_.shape());
  session->num_cached_steps = 0;
}

absl::Status SessionStore::Fork(const Session& source, std::uint64_t epoch,
                                Session* fork) {
  assert(fork->num_steps() == 0);
  absl::Status status = Open(fork);
  if (!status.ok()) return status;
  fork->epoch = epoch;
  fork->session_inputs = source.session_inputs;
  fork->log = source.log;
  fork->num_tokens = source.num_tokens;
  blocks_.Share(source, fork);
  versions_.Copy(source.version, &fork->version);
  return absl::OkStatus();
}

absl::Status SessionStore::Import(const SessionRecord& record,
                                  Session* session) {
  assert(session->num_steps() == 0);
  const absl::StatusOr<std::int64_t> num_tokens =
      CheckRecord(record, versions_.policy());
  if (!num_tokens.ok()) return num_tokens.status();
  absl::Status status = Open(session);
  if (!status.ok()) return status;
  const auto first_step = static_cast<std::int64_t>(record.first_step);
  session->epoch = record.epoch;
  if (!record.session_inputs.empty()) {
    session->session_inputs =
        std::make_shared<const std::string>(record.session_inputs);
  }
  session->log = StepLog(table_.shape().fixed_step_bytes, first_step);
  session->log.Append(record.steps);
  session->num_cached_steps = first_step;
  session->num_tokens = *num_tokens;
  if (record.answered) {
    session->answered = std::make_unique<AnsweredTask>(*record.answered);
  }
  return absl::OkStatus();
}

SessionInfo SessionStore::InfoOf(const Session& session, int executor,
                                 MonotonicTime now) const {
  SessionInfo info;
  info.actor_id = session.actor_id;
  info.epoch = session.epoch;
  info.tier = TierOf(session);
  info.num_steps = session.num_steps();
  info.context_steps = session.num_steps() - session.window_start();
  info.context_tokens = session.num_tokens;
  info.cached_tokens = session.num_cached_tokens;
  info.num_blocks = static_cast<std::int64_t>(session.blocks.size());
  info.num_shared_blocks = std::count_if(
      session.blocks.begin(), session.blocks.end(), [this](std::int32_t block) {
        return blocks_.pool().use_count(block) > 1;
      });
  info.log_bytes = static_cast<std::int64_t>(session.log.num_bytes() +
                                             InputsOf(session).size());
  info.model_version = session.version.number();
  info.context_version_min = session.version.cached.min;
  info.context_version_max = session.version.cached.max;
  info.executor = executor;
  info.is_busy = session.first_work != nullptr;
  if (!info.is_busy) info.idle = absl::FromChrono(now - session.last_use);
  return info;
}

}  // namespace stepd
