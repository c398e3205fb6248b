// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/service/session_client.h"

#include <google/protobuf/util/time_util.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <utility>

#include "absl/strings/string_view.h"
#include "proto/stepd/v1/session_service.grpc.pb.h"
#include "server/service/pem_file.h"
#include "server/service/status_codec.h"

namespace stepd {
namespace {

using google::protobuf::util::TimeUtil;

std::int64_t Signed(std::uint64_t x) { return static_cast<std::int64_t>(x); }

ServedFrom TierOf(v1::Tier tier) {
  switch (tier) {
    case v1::TIER_CACHE:
      return ServedFrom::kCache;
    case v1::TIER_LOG:
      return ServedFrom::kLog;
    case v1::TIER_JOURNAL:
      return ServedFrom::kJournal;
    default:
      return ServedFrom::kNew;
  }
}

SessionEnd EndOf(absl::string_view name) {
  for (const SessionEnd end :
       {SessionEnd::kExpired, SessionEnd::kReset, SessionEnd::kClosed,
        SessionEnd::kEphemeral, SessionEnd::kStored}) {
    if (Name(end) == name) return end;
  }
  return SessionEnd::kTakenOver;
}

SessionInfo Decode(const v1::SessionInfo& wire) {
  SessionInfo info;
  info.actor_id = wire.actor_id();
  info.epoch = wire.epoch();
  info.tier = TierOf(wire.tier());
  info.model_version = wire.model_version();
  info.context_version_min = wire.context_version_min();
  info.context_version_max = wire.context_version_max();
  info.num_steps = Signed(wire.steps());
  info.context_steps = Signed(wire.context_steps());
  info.context_tokens = Signed(wire.context_tokens());
  info.cached_tokens = Signed(wire.cached_tokens());
  info.num_blocks = Signed(wire.blocks());
  info.num_shared_blocks = Signed(wire.shared_blocks());
  info.log_bytes = Signed(wire.log_bytes());
  info.executor = static_cast<int>(wire.executor());
  info.is_busy = wire.busy();
  info.idle = absl::Nanoseconds(TimeUtil::DurationToNanoseconds(wire.idle()));
  return info;
}

EndedSession Decode(const v1::EndedSession& wire) {
  EndedSession ended;
  ended.actor_id = wire.actor_id();
  ended.end = EndOf(wire.end());
  ended.epoch = wire.epoch();
  ended.num_steps = Signed(wire.steps());
  ended.time =
      absl::FromUnixNanos(TimeUtil::TimestampToNanoseconds(wire.time()));
  return ended;
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> CredentialsOf(
    const SessionClientOptions& options) {
  if (options.tls_ca.empty()) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions tls;
  const auto read = [](absl::string_view flag, const std::string& file,
                       std::string* pem) {
    if (file.empty()) return absl::OkStatus();
    auto text = ReadPem(flag, file);
    if (text.ok()) *pem = *std::move(text);
    return text.status();
  };
  absl::Status status = read("--tls.ca", options.tls_ca, &tls.pem_root_certs);
  status.Update(read("--tls.cert", options.tls_cert, &tls.pem_cert_chain));
  status.Update(read("--tls.key", options.tls_key, &tls.pem_private_key));
  if (!status.ok()) return status;
  return grpc::SslCredentials(tls);
}

class GrpcSessionClient final : public SessionClient {
 public:
  GrpcSessionClient(const std::shared_ptr<grpc::Channel>& channel,
                    absl::Duration timeout)
      : timeout_(timeout), stub_(v1::SessionService::NewStub(channel)) {}

  absl::StatusOr<SessionList> List(const std::string& actor_prefix,
                                   std::int64_t max_sessions) override {
    v1::ListSessionsRequest request;
    request.set_actor_prefix(actor_prefix);
    request.set_max_sessions(static_cast<std::uint32_t>(std::min<std::int64_t>(
        max_sessions, std::numeric_limits<std::uint32_t>::max())));
    v1::ListSessionsResponse reply;
    grpc::ClientContext context;
    SetDeadline(&context);
    const grpc::Status status = stub_->ListSessions(&context, request, &reply);
    if (!status.ok()) return FromGrpcStatus(status);
    SessionList list;
    list.num_sessions = Signed(reply.num_sessions());
    for (const auto& wire : reply.sessions()) {
      list.sessions.push_back(Decode(wire));
    }
    for (const auto& wire : reply.ended()) list.ended.push_back(Decode(wire));
    return list;
  }

  absl::Status Close(const std::string& actor_id) override {
    v1::CloseRequest request;
    request.set_actor_id(actor_id);
    v1::CloseResponse reply;
    grpc::ClientContext context;
    SetDeadline(&context);
    return FromGrpcStatus(stub_->Close(&context, request, &reply));
  }

 private:
  void SetDeadline(grpc::ClientContext* context) const {
    context->set_deadline(std::chrono::system_clock::now() +
                          absl::ToChronoMilliseconds(timeout_));
  }

  const absl::Duration timeout_;
  const std::unique_ptr<v1::SessionService::Stub> stub_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<SessionClient>> SessionClient::Create(
    const SessionClientOptions& options) {
  auto credentials = CredentialsOf(options);
  if (!credentials.ok()) return credentials.status();
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  return std::make_unique<GrpcSessionClient>(
      grpc::CreateCustomChannel(options.address, *std::move(credentials),
                                arguments),
      options.timeout);
}

}  // namespace stepd
