// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/service/session_service.h"

#include <google/protobuf/util/time_util.h>
#include <grpcpp/support/server_callback.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "proto/stepd/v1/session_service.grpc.pb.h"
#include "server/common/error.h"
#include "server/engine/session_task.h"
#include "server/journal/fields_fingerprint.h"
#include "server/journal/record.h"
#include "server/service/call_end.h"
#include "server/service/invalid.h"
#include "server/service/step_codec.h"

namespace stepd {
namespace {

using google::protobuf::util::TimeUtil;

constexpr std::int64_t kDefaultMaxSessions = 1000;

std::uint64_t Unsigned(std::int64_t x) { return static_cast<std::uint64_t>(x); }

v1::Tier TierOf(ServedFrom tier) {
  switch (tier) {
    case ServedFrom::kNew:
      break;
    case ServedFrom::kCache:
      return v1::TIER_CACHE;
    case ServedFrom::kLog:
      return v1::TIER_LOG;
    case ServedFrom::kJournal:
      return v1::TIER_JOURNAL;
  }
  return v1::TIER_UNSPECIFIED;
}

void Encode(const SessionInfo& info, v1::SessionInfo* out) {
  out->set_actor_id(info.actor_id);
  out->set_tier(TierOf(info.tier));
  out->set_model_version(info.model_version);
  out->set_context_version_min(info.context_version_min);
  out->set_context_version_max(info.context_version_max);
  out->set_epoch(info.epoch);
  out->set_steps(Unsigned(info.num_steps));
  out->set_context_steps(Unsigned(info.context_steps));
  out->set_context_tokens(Unsigned(info.context_tokens));
  out->set_cached_tokens(Unsigned(info.cached_tokens));
  out->set_blocks(Unsigned(info.num_blocks));
  out->set_shared_blocks(Unsigned(info.num_shared_blocks));
  out->set_log_bytes(Unsigned(info.log_bytes));
  out->set_executor(static_cast<std::uint32_t>(info.executor));
  out->set_busy(info.is_busy);
  *out->mutable_idle() =
      TimeUtil::NanosecondsToDuration(absl::ToInt64Nanoseconds(info.idle));
}

void Encode(const EndedSession& ended, v1::EndedSession* out) {
  out->set_actor_id(ended.actor_id);
  out->set_end(std::string(Name(ended.end)));
  out->set_epoch(ended.epoch);
  out->set_steps(Unsigned(ended.num_steps));
  *out->mutable_time() =
      TimeUtil::NanosecondsToTimestamp(absl::ToUnixNanos(ended.time));
}

absl::Status CheckForks(const v1::ForkRequest& request,
                        std::int64_t max_forks) {
  if (request.forks().empty()) {
    return Invalid(reason::kActorId, "forks", "none", "at least one");
  }
  if (request.forks_size() > max_forks) {
    return Invalid(reason::kLimit, "forks",
                   absl::StrCat(request.forks_size(), " actors"),
                   absl::StrCat("at most ", max_forks));
  }
  absl::flat_hash_set<absl::string_view> seen = {request.actor_id()};
  for (const std::string& fork : request.forks()) {
    const absl::Status status = CheckActorId(fork);
    if (!status.ok()) return status;
    if (!seen.insert(fork).second) {
      return Invalid(reason::kActorId, "forks", "an actor twice",
                     "all different, and none the source");
    }
  }
  return absl::OkStatus();
}

// A record as a client keeps it.
void Encode(const SessionRecord& record, std::uint64_t fields,
            v1::SessionCopy* out) {
  RecordStamp stamp;
  stamp.fields = fields;
  stamp.written = absl::Now();
  const JournalSteps entry = AsOneEntry(record);
  out->set_actor_id(record.actor_id);
  out->set_steps(EncodeSteps(stamp, entry));
  if (!record.session_inputs.empty()) {
    out->set_session_inputs(EncodeInputs(stamp, entry));
  }
}

// Errors: kInvalidArgument  RECORD
absl::StatusOr<SessionRecord> Decode(const v1::SessionCopy& copy,
                                     std::uint64_t fields) {
  StoredSession stored;
  stored.actor_id = copy.actor_id();
  stored.inputs = copy.session_inputs();
  stored.steps = {copy.steps()};
  absl::StatusOr<SessionRecord> record = AssembleSession(fields, stored);
  if (record.ok()) return record;
  return Error(absl::StatusCode::kInvalidArgument, reason::kRecord,
               record.status().message(), {{"field", "session"}});
}

void Encode(const SessionList& list, v1::ListSessionsResponse* out) {
  out->set_num_sessions(Unsigned(list.num_sessions));
  for (const SessionInfo& info : list.sessions) {
    Encode(info, out->add_sessions());
  }
  for (const EndedSession& ended : list.ended) {
    Encode(ended, out->add_ended());
  }
}

class CallbackSessionService final
    : public SessionService,
      public v1::SessionService::CallbackService {
 public:
  CallbackSessionService(Engine* engine, const SessionServiceOptions& options,
                         Observer* observer)
      : engine_(engine),
        options_(options),
        observer_(observer),
        fields_(FieldsFingerprint(engine->spec())) {}

  const char* name() const override {
    return v1::SessionService::service_full_name();
  }
  grpc::Service* grpc_service() override { return this; }

  grpc::ServerUnaryReactor* Fork(grpc::CallbackServerContext* context,
                                 const v1::ForkRequest* request,
                                 v1::ForkResponse* response) override;
  grpc::ServerUnaryReactor* Close(grpc::CallbackServerContext* context,
                                  const v1::CloseRequest* request,
                                  v1::CloseResponse* response) override;
  grpc::ServerUnaryReactor* GetSession(grpc::CallbackServerContext* context,
                                       const v1::GetSessionRequest* request,
                                       v1::SessionInfo* response) override;
  grpc::ServerUnaryReactor* ListSessions(
      grpc::CallbackServerContext* context,
      const v1::ListSessionsRequest* request,
      v1::ListSessionsResponse* response) override;
  grpc::ServerUnaryReactor* Export(grpc::CallbackServerContext* context,
                                   const v1::ExportRequest* request,
                                   v1::ExportResponse* response) override;
  grpc::ServerUnaryReactor* Import(grpc::CallbackServerContext* context,
                                   const v1::ImportRequest* request,
                                   v1::ImportResponse* response) override;

 private:
  // One call: where it ends, and how.
  struct Call {
    grpc::ServerUnaryReactor* reactor;
    CallEnd end;

    void Finish(const absl::Status& status) const {
      reactor->Finish(end(status));
    }
  };

  Call Begin(absl::string_view method,
             grpc::CallbackServerContext* context) const {
    return {context->DefaultReactor(), CallEnd(method, *context, observer_)};
  }

  // Submits `task`, if `status` is OK; what is refused ends the call here.
  grpc::ServerUnaryReactor* Submit(const Call& call, absl::Status status,
                                   Task task) {
    if (status.ok()) status = engine_->Submit(std::move(task));
    if (!status.ok()) call.Finish(status);
    return call.reactor;
  }

  Engine* const engine_;
  const SessionServiceOptions options_;
  Observer* const observer_;
  const std::uint64_t fields_;
};

grpc::ServerUnaryReactor* CallbackSessionService::Fork(
    grpc::CallbackServerContext* context, const v1::ForkRequest* request,
    v1::ForkResponse* response) {
  const Call call = Begin("Fork", context);
  absl::Status status = CheckActorId(request->actor_id());
  status.Update(CheckForks(*request, options_.max_forks));
  ForkTask task;
  task.actor_id = request->actor_id();
  task.forks.assign(request->forks().begin(), request->forks().end());
  if (request->has_epoch()) task.epoch = request->epoch();
  if (request->has_source_epoch()) task.source_epoch = request->source_epoch();
  if (request->has_step_index()) task.num_steps = request->step_index();
  task.done = [call, response](const absl::StatusOr<ForkResult>& result) {
    if (result.ok()) response->set_epoch(result->epoch);
    call.Finish(result.status());
  };
  return Submit(call, std::move(status), std::move(task));
}

grpc::ServerUnaryReactor* CallbackSessionService::Close(
    grpc::CallbackServerContext* context, const v1::CloseRequest* request,
    v1::CloseResponse* /*response*/) {
  const Call call = Begin("Close", context);
  ResetTask task;
  task.actor_id = request->actor_id();
  task.end = SessionEnd::kClosed;
  task.done = [call](const absl::Status& status) { call.Finish(status); };
  return Submit(call, CheckActorId(request->actor_id()), std::move(task));
}

grpc::ServerUnaryReactor* CallbackSessionService::GetSession(
    grpc::CallbackServerContext* context, const v1::GetSessionRequest* request,
    v1::SessionInfo* response) {
  const Call call = Begin("GetSession", context);
  InspectTask task;
  task.actor_id = request->actor_id();
  task.done = [call, response](const absl::StatusOr<SessionInfo>& info) {
    if (info.ok()) Encode(*info, response);
    call.Finish(info.status());
  };
  return Submit(call, CheckActorId(request->actor_id()), std::move(task));
}

grpc::ServerUnaryReactor* CallbackSessionService::ListSessions(
    grpc::CallbackServerContext* context,
    const v1::ListSessionsRequest* request,
    v1::ListSessionsResponse* response) {
  const Call call = Begin("ListSessions", context);
  ListTask task;
  task.actor_prefix = request->actor_prefix();
  task.max_sessions = request->max_sessions() == 0
                          ? kDefaultMaxSessions
                          : std::int64_t{request->max_sessions()};
  task.done = [call, response](const absl::StatusOr<SessionList>& list) {
    if (list.ok()) Encode(*list, response);
    call.Finish(list.status());
  };
  return Submit(call, absl::OkStatus(), std::move(task));
}

grpc::ServerUnaryReactor* CallbackSessionService::Export(
    grpc::CallbackServerContext* context, const v1::ExportRequest* request,
    v1::ExportResponse* response) {
  const Call call = Begin("Export", context);
  ExportTask task;
  task.actor_id = request->actor_id();
  task.done = [call, fields = fields_,
               response](const absl::StatusOr<SessionRecord>& record) {
    if (record.ok()) Encode(*record, fields, response->mutable_session());
    call.Finish(record.status());
  };
  return Submit(call, CheckActorId(request->actor_id()), std::move(task));
}

grpc::ServerUnaryReactor* CallbackSessionService::Import(
    grpc::CallbackServerContext* context, const v1::ImportRequest* request,
    v1::ImportResponse* /*response*/) {
  const Call call = Begin("Import", context);
  const v1::SessionCopy& copy = request->session();
  ImportTask task;
  task.actor_id =
      request->actor_id().empty() ? copy.actor_id() : request->actor_id();
  absl::Status status = CheckActorId(task.actor_id);
  absl::StatusOr<SessionRecord> record = Decode(copy, fields_);
  status.Update(record.status());
  if (record.ok()) {
    task.record = std::make_shared<const SessionRecord>(*std::move(record));
  }
  task.done = [call](const absl::StatusOr<bool>& was_made) {
    call.Finish(was_made.status());
  };
  return Submit(call, std::move(status), std::move(task));
}

}  // namespace

std::unique_ptr<SessionService> SessionService::Create(
    Engine* engine, const SessionServiceOptions& options, Observer* observer) {
  return std::make_unique<CallbackSessionService>(engine, options, observer);
}

}  // namespace stepd
