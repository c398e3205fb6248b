// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/step_starter.h"

#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <utility>

#include "server/engine/session_blocks.h"

namespace stepd {
namespace {

std::shared_ptr<const std::string> TakeInputs(StepTask* task) {
  if (task->session_inputs.empty()) return nullptr;
  return std::make_shared<const std::string>(std::move(task->session_inputs));
}

}  // namespace

absl::StatusOr<RunningVersion*> StepStarter::ChooseVersion(
    const Work& work) const {
  const bool begins = versions_.has_several() && slicer_.BeginsContext(work);
  if (work.is_started && !begins) return work.version;
  const Session& session = *work.session;
  const absl::StatusOr<RunningVersion*> choice =
      versions_.Choose(session.version, session.actor_hash(),
                       std::get<StepTask>(work.task).version, begins);
  // A started step goes on, if need be under the version that it has.
  const bool must_stay =
      work.is_started && (!choice.ok() || *choice == nullptr);
  return must_stay ? work.version : choice;
}

bool StepStarter::DropOutdated(RunningVersion* version, const Work& work) {
  Session* session = work.session;
  const KvPolicy kv_policy = versions_.KvPolicyOf(
      session->version, std::get<StepTask>(work.task).version);
  const bool is_outdated = kv_policy == KvPolicy::kRecompute &&
                           !work.is_started && session->num_cached_tokens > 0 &&
                           session->version.number() != version->number();
  if (!is_outdated) return false;
  ForgetCached(session);
  session->prepared_inputs.reset();
  if (!IsPinned(*session)) versions_.Join(version, &session->version);
  return true;
}

absl::Status StepStarter::Admit(const Work& work) {
  const absl::Status status = admission_.Check(work);
  if (!status.ok() || work.is_evaluation()) return status;
  return store_.Open(work.session);
}

bool StepStarter::ReserveBlocks(const Work& work) {
  return store_.blocks().Reserve(slicer_.MostTokens(work),
                                 slicer_.KeptTokens(work), work.session);
}

absl::Status StepStarter::Start(RunningVersion* version, MonotonicTime now,
                                Work* work) {
  Session* session = work->session;
  if (session->num_steps() == 0) {
    session->session_inputs = TakeInputs(&work->step());
  }
  absl::Status status = GoOnUnder(version, work);
  if (!status.ok()) return status;
  work->is_started = true;
  work->cached = session->cached();
  work->context_versions = session->version.cached;
  work->started = now;
  work->was_rebuilt = !session->is_cached();
  work->reply.served_from = TierOf(*session);
  return absl::OkStatus();
}

// Until the task is done such a session may have to go on with its context.
bool StepStarter::IsPinned(const Session& session) const {
  return versions_.KvPolicyOf(session.version) == KvPolicy::kPin &&
         session.num_steps() > 0 && session.version.held != nullptr;
}

absl::Status StepStarter::GoOnUnder(RunningVersion* version, Work* work) {
  Session* session = work->session;
  const std::uint64_t made_inputs = work->version == nullptr
                                        ? session->version.number()
                                        : work->version->number();
  if (made_inputs != version->number()) session->prepared_inputs.reset();
  if (!IsPinned(*session)) versions_.Join(version, &session->version);
  versions_.Use(version, &work->version);
  return PrepareInputs(*work);
}

// Where the session has none: it is new, or lost them with its blocks.
absl::Status StepStarter::PrepareInputs(const Work& work) {
  Session* session = work.session;
  if (spec_.session_fields.empty() || session->prepared_inputs != nullptr) {
    return absl::OkStatus();
  }
  absl::Status failure;
  try {
    auto prepared = work.version->runner->PrepareInputs(InputsOf(*session));
    if (prepared.ok()) {
      session->prepared_inputs = *std::move(prepared);
      return absl::OkStatus();
    }
    failure = prepared.status();
  } catch (const std::exception& e) {  // std::bad_alloc above all
    failure = absl::InternalError(e.what());
  }
  return FailureLog::Told(failures_.Report(failure));
}

}  // namespace stepd
