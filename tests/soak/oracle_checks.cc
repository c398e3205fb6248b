// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The half of the oracle that judges the answers.

#include <algorithm>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "server/common/error.h"
#include "server/engine/session.h"
#include "tests/fakes/fake_task.h"
#include "tests/soak/oracle.h"

namespace stepd {
namespace {

constexpr std::size_t kMaxExported = 32;

std::string TextOf(const StepReply& reply) {
  std::ostringstream text;
  text << reply << " epoch " << reply.epoch << " version "
       << reply.model_version << " of " << reply.context_version_min << ".."
       << reply.context_version_max << " from "
       << static_cast<int>(reply.served_from);
  return text.str();
}

std::string ExpectedOf(const absl::Status& status) {
  for (const auto& [key, value] : MetadataOf(status)) {
    if (key == "expected") return value;
  }
  return "";
}

}  // namespace

// The first one counts.
void Oracle::Fail(const std::string& what) {
  if (!status_.ok()) return;
  status_ = absl::InternalError(
      absl::StrCat(Setting(), ", operation ", num_operations_, ": ", what));
}

// Answers of an actor come in the order in which it asked, each once.
void Oracle::CheckTurn(Actor* actor, std::uint64_t ticket) {
  if (actor->waiting.empty() || actor->waiting.front() != ticket) {
    return Fail(absl::StrCat(actor->id(), ": an answer out of turn"));
  }
  actor->waiting.pop_front();
}

// ---- Steps
// ------------------------------------------------------------------

void Oracle::CheckStep(Actor* actor, const StepRequest& request,
                       std::size_t first_rollout,
                       const absl::StatusOr<StepReply>& reply) {
  const Expected expected = Expect(request, actor->solo.session());
  if (!reply.ok()) {
    CheckRefusal(actor, request, expected, reply.status());
  } else if (expected == Expected::kRepeated) {
    const StepReply& first = actor->solo.session().answered->reply;
    if (!AreSame(*reply, first)) {
      Fail(absl::StrCat(actor->id(), ": repeated as ", TextOf(*reply),
                        ", first answered ", TextOf(first)));
    }
  } else if (expected == Expected::kTaken || expected == Expected::kBegins) {
    CheckTaken(actor, request, first_rollout, *reply);
  } else {
    Fail(absl::StrCat(actor->id(),
                      ": a step out of order was taken: ", TextOf(*reply)));
  }
}

void Oracle::CheckTaken(Actor* actor, const StepRequest& request,
                        std::size_t first_rollout, const StepReply& reply) {
  SoloActor& solo = actor->solo;
  if (Expect(request, solo.session()) == Expected::kBegins) solo.End();
  const SoloSession before = solo.session();
  KeyRecord& keys = engine_->KeysOf(actor->id());
  const absl::StatusOr<StepReply> want = solo.Take(
      request, [&keys](const std::string& step) { return keys.Find(step); });
  if (!want.ok()) {
    return Fail(absl::StrCat(actor->id(), ": ", want.status().message(),
                             ", answered ", TextOf(reply)));
  }
  for (const std::string& step : request.steps) keys.Forget(step);
  if (before.num_steps == 0) {
    solo.set_epoch(request.epoch.value_or(reply.epoch));
  }
  StepReply whole = *want;
  whole.epoch = solo.session().epoch;
  whole.served_from = reply.served_from;
  const bool is_new = reply.served_from == ServedFrom::kNew;
  if (!AreSame(whole, reply) || is_new != (before.num_steps == 0)) {
    return Fail(absl::StrCat(actor->id(), ": answered ", TextOf(reply),
                             ", alone ", TextOf(whole)));
  }
  const ContextLimits& limits = engine_options_.executor.context;
  if (static_cast<std::int64_t>(solo.session().context.size()) >
      limits.max_steps) {
    return Fail(absl::StrCat(actor->id(), ": a context beyond its limit"));
  }
  CheckVersion(*actor, before, request, first_rollout, reply);
  solo.Follow(reply.model_version, first_rollout);
  if (request.kv_policy.has_value()) solo.set_kv_policy(request.kv_policy);
  solo.Keep(request, reply);
  if (request.is_ephemeral) solo.End();
}

void Oracle::CheckVersion(const Actor& actor, const SoloSession& before,
                          const StepRequest& request, std::size_t first_rollout,
                          const StepReply& reply) {
  const KvPolicy old_policy =
      before.kv_policy.value_or(engine_options_.executor.kv_policy);
  const KvPolicy kv_policy = request.kv_policy.value_or(old_policy);
  const bool may_mix = says_kv_policy_ || kv_policy == KvPolicy::kKeep;
  if (!may_mix && reply.context_version_min != reply.context_version_max) {
    return Fail(absl::StrCat(actor.id(), ": keys of several versions"));
  }
  const bool goes_on =
      before.num_steps > 0 && before.begin == actor.solo.session().begin;
  bool may_stay = false;
  if (kv_policy == KvPolicy::kPin && goes_on) {
    const bool is_known = old_policy == KvPolicy::kPin && before.version != 0 &&
                          reply.served_from != ServedFrom::kJournal;
    may_stay = reply.model_version == before.version;
    if (is_known && !may_stay) {
      Fail(absl::StrCat(actor.id(), ": pinned to ", before.version,
                        ", answered ", TextOf(reply)));
    }
    // A step that failed may have decided it.
    first_rollout = reply.served_from == ServedFrom::kJournal
                        ? 0
                        : std::min(first_rollout, before.first_rollout);
  }
  // A step that has begun goes on under its version where none that is offered
  // is new enough for it.
  may_stay |= request.min_version > 0 &&
              (before.version == 0 || reply.model_version == before.version);
  if (!may_stay && !IsOffered(reply.model_version, first_rollout)) {
    Fail(absl::StrCat(
        actor.id(), ": under version ", reply.model_version,
        ", offered since it was asked: ", rollouts_[first_rollout].first, "/",
        rollouts_[first_rollout].second, " to ", rollouts_.back().first, "/",
        rollouts_.back().second, "; the context from ", before.begin, " to ",
        actor.solo.session().begin, ", was of ", before.version));
  }
}

bool Oracle::IsOffered(std::uint64_t version, std::size_t first_rollout) const {
  return std::any_of(
      rollouts_.begin() + static_cast<std::ptrdiff_t>(first_rollout),
      rollouts_.end(), [version](const auto& rollout) {
        return rollout.first == version || rollout.second == version;
      });
}

void Oracle::CheckRefusal(Actor* actor, const StepRequest& request,
                          Expected expected, const absl::Status& status) {
  const std::string reason = ReasonOf(status);
  const SoloActor& solo = actor->solo;
  if (MayBeFull(reason)) return;
  bool is_right = false;
  if (expected == Expected::kOutOfOrder) {
    is_right = reason == reason::kStepIndex &&
               ExpectedOf(status) == absl::StrCat(solo.session().num_steps);
  } else if (expected == Expected::kUnknown) {
    is_right = reason == reason::kSessionUnknown && ExpectedOf(status) == "0";
  } else if (expected != Expected::kRepeated) {
    const bool begins = expected == Expected::kBegins;
    is_right =
        MayRefuse(request, begins ? SoloSession() : solo.session(), reason);
  }
  if (!is_right) {
    Fail(absl::StrCat(actor->id(), ": refused with ", status.ToString()));
  }
}

bool Oracle::MayBeFull(const std::string& reason) const {
  return reason == reason::kSessionsFull &&
         engine_options_.max_sessions < num_actors();
}

bool Oracle::MayRefuse(const StepRequest& request, const SoloSession& session,
                       const std::string& reason) const {
  const bool is_new = session.num_steps == 0;
  if (reason == reason::kCancelled) return request.is_cancelled->load();
  if (reason == reason::kDeadline) return request.deadline <= clock_.Now();
  if (reason == reason::kInternal) return engine_options_.fail_one_in > 0;
  if (reason == reason::kFieldMissing) {
    return is_new && request.session_inputs.empty();
  }
  if (reason == reason::kSessionInputs) {
    return !is_new && !request.session_inputs.empty();
  }
  if (reason == reason::kModelVersion || reason == reason::kDraining) {
    return request.min_version > 0;
  }
  if (reason == reason::kContextFull) {
    const ContextLimits& limits = engine_options_.executor.context;
    const std::int64_t begin =
        limits.forgets(request.boundary) ? session.num_steps : session.begin;
    const auto num_steps = static_cast<std::int64_t>(request.steps.size());
    return !limits.rebuilds() &&
           session.num_steps + num_steps - begin > limits.max_steps;
  }
  return false;
}

// ---- Sessions
// ---------------------------------------------------------------

void Oracle::CheckFork(Actor* source, const std::vector<Actor*>& forks,
                       std::optional<std::uint64_t> epoch,
                       const absl::StatusOr<ForkResult>& result) {
  ++counts_["forks"];
  const SoloSession& session = source->solo.session();
  const auto was_made = [&](const Actor* fork) {
    return epoch.has_value() && fork->solo.session().epoch == *epoch &&
           fork->solo.session().num_steps == session.num_steps;
  };
  const bool has_any =
      std::any_of(forks.begin(), forks.end(),
                  [](const Actor* fork) { return !fork->solo.is_new(); });
  if (!result.ok()) {
    must_settle_ = true;
    const std::string reason = ReasonOf(result.status());
    const bool is_right =
        MayBeFull(reason) ||
        (reason == reason::kSessionUnknown && source->solo.is_new()) ||
        (reason == reason::kSessionExists && has_any);
    if (!is_right) Fail(absl::StrCat("a fork: ", result.status().ToString()));
    return;
  }
  if (source->solo.is_new())
    return Fail(absl::StrCat("a fork of nothing: ", source->id()));
  for (Actor* fork : forks) {
    if (!fork->solo.is_new()) {
      if (!was_made(fork)) {
        Fail(absl::StrCat("a fork of ", source->id(), " over the session of ",
                          fork->id()));
      }
      continue;
    }
    SoloSession copy = session;
    copy.epoch = result->epoch;
    copy.answered.reset();
    fork->solo.Become(copy);
    // A copy elsewhere has no version yet. Nor has one whose source was read
    // from the journal, which nobody was told.
    const bool is_elsewhere =
        engine_->ShardOf(fork->id()) != engine_->ShardOf(source->id());
    if (is_elsewhere) fork->solo.Unpin(rollouts_.size() - 1);
    if (has_journal_) fork->solo.Unpin(0);
    // It is answered as itself, if at all.
    const std::optional<StepRequest>& last = source->last;
    const std::uint64_t index =
        last.has_value() ? last->step_index.value_or(0) : 0;
    const bool was_taken =
        index > 0 && index < static_cast<std::uint64_t>(session.num_steps);
    if (was_taken) fork->last = last;
  }
}

void Oracle::CheckRecord(const Actor& actor, const SessionRecord& record) {
  const SoloSession& session = actor.solo.session();
  bool is_right =
      record.epoch == session.epoch &&
      record.session_inputs == session.inputs &&
      record.first_step == static_cast<std::uint64_t>(session.begin) &&
      record.steps.size() == session.context.size() &&
      record.answered.has_value() == session.answered.has_value();
  for (std::size_t i = 0; is_right && i < record.steps.size(); ++i) {
    is_right = record.steps[i] == session.context[i].step;
  }
  if (is_right && record.answered.has_value()) {
    is_right = record.answered->step_index == session.answered->step_index &&
               AreSame(record.answered->reply, session.answered->reply);
  }
  if (!is_right) return Fail(absl::StrCat(actor.id(), ": a wrong record"));
  exported_.push_back({record, session});
  if (exported_.size() > kMaxExported) exported_.pop_front();
}

// ---- Accounts
// ---------------------------------------------------------------

void Oracle::CheckAccounts() {
  for (const std::string& violation : engine_->Violations()) Fail(violation);
  for (int shard = 0; shard < engine_->size(); ++shard) {
    std::map<std::int32_t, int> users;
    std::int64_t num_open = 0;
    for (const auto& actor : actors_) {
      if (engine_->ShardOf(actor->id()) != shard) continue;
      CheckSession(*actor, &users);
      const Session* session = engine_->FindSession(actor->id());
      num_open += session != nullptr && session->is_open ? 1 : 0;
    }
    const Executor& executor = engine_->executor(shard);
    for (const auto& [block, count] : users) {
      if (executor.pool().use_count(block) != count) {
        Fail(absl::StrCat("block ", block, " of ", count, " sessions is said ",
                          "to be of ", executor.pool().use_count(block)));
      }
    }
    if (executor.pool().num_used() != static_cast<std::int32_t>(users.size())) {
      Fail(absl::StrCat(executor.pool().num_used(), " blocks are used, ",
                        users.size(), " by sessions"));
    }
    if (executor.gauges().num_sessions != num_open) {
      Fail(absl::StrCat(executor.gauges().num_sessions, " sessions, not ",
                        num_open));
    }
  }
}

void Oracle::CheckSession(const Actor& actor,
                          std::map<std::int32_t, int>* users) {
  const Session* session = engine_->FindSession(actor.id());
  const SoloActor& solo = actor.solo;
  if (session == nullptr) {
    if (!solo.is_new() && !has_journal_) {
      Fail(absl::StrCat(actor.id(), ": its session is gone"));
    }
    return;
  }
  for (const std::int32_t block : session->blocks) ++(*users)[block];
  if (!actor.is_idle()) return;
  const PolicySpec& spec = policies_.spec();
  const std::int64_t blocks =
      (session->num_cached_tokens + spec.tokens_per_block - 1) /
      spec.tokens_per_block;
  const bool is_right =
      session->num_steps() == solo.session().num_steps &&
      session->window_start() == solo.session().begin &&
      session->num_tokens == solo.num_tokens() &&
      session->num_cached_tokens <= session->num_tokens &&
      static_cast<std::int64_t>(session->blocks.size()) == blocks;
  if (is_right) return;
  Fail(absl::StrCat(actor.id(), " has ", session->num_steps(), " steps, ",
                    session->num_tokens, " tokens from step ",
                    session->window_start(), ", ", session->num_cached_tokens,
                    " of them in ", session->blocks.size(), " blocks; alone ",
                    solo.session().num_steps, " steps, ", solo.num_tokens(),
                    " tokens from ", solo.session().begin));
}

}  // namespace stepd
