// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/service/model_service.h"

#include <grpcpp/support/server_callback.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "proto/stepd/v1/model_service.grpc.pb.h"
#include "server/common/error.h"
#include "server/service/call_end.h"

namespace stepd {
namespace {

PushHeader FromWire(const v1::PushWeightsHeader& wire) {
  constexpr std::uint64_t kMax = std::numeric_limits<std::int64_t>::max();
  PushHeader header;
  header.num_bytes = static_cast<std::int64_t>(
      std::min<std::uint64_t>(wire.num_bytes(), kMax));
  header.sha256 = wire.sha256();
  header.version = wire.version();
  header.is_partial = wire.partial();
  header.base_version = wire.base_version();
  if (!wire.label().empty()) header.label = wire.label();
  header.canary_share = wire.canary_share();
  return header;
}

v1::Version::Origin ToWire(VersionOrigin origin) {
  switch (origin) {
    case VersionOrigin::kStartedWith:
      return v1::Version::ORIGIN_STARTED_WITH;
    case VersionOrigin::kRepository:
      return v1::Version::ORIGIN_REPOSITORY;
    case VersionOrigin::kPushed:
      return v1::Version::ORIGIN_PUSHED;
  }
  return v1::Version::ORIGIN_UNSPECIFIED;
}

void ToWire(const VersionInfo& info, v1::Version* wire) {
  wire->set_version(info.version);
  wire->set_origin(ToWire(info.origin));
  for (const std::string& label : info.labels) wire->add_labels(label);
  wire->set_loaded(info.is_loaded);
  wire->set_sessions(
      static_cast<std::uint64_t>(std::max<std::int64_t>(0, info.num_sessions)));
  const std::int64_t nanoseconds = absl::ToUnixNanos(info.since);
  wire->mutable_available_since()->set_seconds(nanoseconds / 1'000'000'000);
  wire->mutable_available_since()->set_nanos(
      static_cast<std::int32_t>(nanoseconds % 1'000'000'000));
  wire->set_canary_share(info.canary_share);
}

absl::Status OutOfOrder(absl::string_view got, absl::string_view want) {
  return Error(absl::StatusCode::kInvalidArgument, reason::kMessage,
               "the weights must come as one header and then chunks",
               {{"field", "part"},
                {"got", std::string(got)},
                {"want", std::string(want)}});
}

// One PushWeights: reads the parts into a push, commits it, answers. Deletes
// itself when gRPC is done with it.
class PushCall final : public grpc::ServerReadReactor<v1::PushWeightsRequest> {
 public:
  // `response` lives as long as the call.
  PushCall(ModelRegistry* registry, CallEnd end,
           const grpc::CallbackServerContext& context,
           v1::PushWeightsResponse* response)
      : registry_(registry),
        end_(std::move(end)),
        context_(context),
        response_(response) {
    StartRead(&request_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) return OnAllRead();
    const absl::Status status = Take();
    if (!status.ok()) return Finish(end_(status));
    request_.Clear();
    StartRead(&request_);
  }
  void OnDone() override { delete this; }

 private:
  absl::Status Take() {
    switch (request_.part_case()) {
      case v1::PushWeightsRequest::kHeader: {
        if (push_ != nullptr) return OutOfOrder("a second header", "a chunk");
        auto push = registry_->BeginPush(FromWire(request_.header()));
        if (!push.ok()) return push.status();
        push_ = *std::move(push);
        return absl::OkStatus();
      }
      case v1::PushWeightsRequest::kChunk:
        if (push_ == nullptr) return OutOfOrder("a chunk", "a header");
        return push_->Append(request_.chunk());
      case v1::PushWeightsRequest::PART_NOT_SET:
        break;
    }
    return OutOfOrder("nothing", "a header or a chunk");
  }

  void OnAllRead() {
    if (context_.IsCancelled()) {
      return Finish(end_(Error(absl::StatusCode::kCancelled, reason::kCancelled,
                               "cancelled")));
    }
    if (push_ == nullptr)
      return Finish(end_(OutOfOrder("nothing", "a header")));
    push_->Commit([this](const absl::StatusOr<std::uint64_t>& version) {
      if (version.ok()) response_->set_version(*version);
      Finish(end_(version.status()));
    });
  }

  ModelRegistry* const registry_;
  const CallEnd end_;
  const grpc::CallbackServerContext& context_;
  v1::PushWeightsResponse* const response_;
  v1::PushWeightsRequest request_;
  std::unique_ptr<Push> push_;
};

class CallbackModelService final : public ModelService,
                                   public v1::ModelService::CallbackService {
 public:
  CallbackModelService(ModelRegistry* registry,
                       const ModelServiceOptions& options, Observer* observer)
      : registry_(registry), options_(options), observer_(observer) {}

  const char* name() const override {
    return v1::ModelService::service_full_name();
  }
  grpc::Service* grpc_service() override { return this; }

  grpc::ServerReadReactor<v1::PushWeightsRequest>* PushWeights(
      grpc::CallbackServerContext* context,
      v1::PushWeightsResponse* response) override;
  grpc::ServerUnaryReactor* ListVersions(
      grpc::CallbackServerContext* context,
      const v1::ListVersionsRequest* request,
      v1::ListVersionsResponse* response) override;
  grpc::ServerUnaryReactor* SetLabel(grpc::CallbackServerContext* context,
                                     const v1::SetLabelRequest* request,
                                     v1::SetLabelResponse* response) override;
  grpc::ServerUnaryReactor* Rollback(grpc::CallbackServerContext* context,
                                     const v1::RollbackRequest* request,
                                     v1::RollbackResponse* response) override;

 private:
  // Errors: kPermissionDenied  CHANGES_REFUSED
  absl::Status CheckChangesAccepted() const {
    if (options_.accepts_changes) return absl::OkStatus();
    return Error(absl::StatusCode::kPermissionDenied, reason::kChangesRefused,
                 "this server takes no changes of its weights from clients "
                 "(model.changes)");
  }

  ModelRegistry* const registry_;
  const ModelServiceOptions options_;
  Observer* const observer_;
};

grpc::ServerReadReactor<v1::PushWeightsRequest>*
CallbackModelService::PushWeights(grpc::CallbackServerContext* context,
                                  v1::PushWeightsResponse* response) {
  CallEnd end("PushWeights", *context, observer_);
  const absl::Status status = CheckChangesAccepted();
  if (!status.ok()) {
    return new RefusedCall<grpc::ServerReadReactor<v1::PushWeightsRequest>>(
        end(status));
  }
  return new PushCall(registry_, std::move(end), *context, response);
}

grpc::ServerUnaryReactor* CallbackModelService::ListVersions(
    grpc::CallbackServerContext* context,
    const v1::ListVersionsRequest* /*request*/,
    v1::ListVersionsResponse* response) {
  for (const VersionInfo& info : registry_->List()) {
    ToWire(info, response->add_versions());
  }
  response->set_follows_repository(registry_->follows_repository());
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerUnaryReactor* CallbackModelService::SetLabel(
    grpc::CallbackServerContext* context, const v1::SetLabelRequest* request,
    v1::SetLabelResponse* /*response*/) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  CallEnd end("SetLabel", *context, observer_);
  if (const absl::Status status = CheckChangesAccepted(); !status.ok()) {
    reactor->Finish(end(status));
    return reactor;
  }
  LabelChange change;
  change.label = request->label();
  change.version = request->version();
  change.canary_share = request->canary_share();
  registry_->SetLabel(change,
                      [reactor, end = std::move(end)](
                          const absl::StatusOr<std::uint64_t>& version) {
                        reactor->Finish(end(version.status()));
                      });
  return reactor;
}

grpc::ServerUnaryReactor* CallbackModelService::Rollback(
    grpc::CallbackServerContext* context,
    const v1::RollbackRequest* /*request*/, v1::RollbackResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  CallEnd end("Rollback", *context, observer_);
  if (const absl::Status status = CheckChangesAccepted(); !status.ok()) {
    reactor->Finish(end(status));
    return reactor;
  }
  registry_->Rollback([reactor, response, end = std::move(end)](
                          const absl::StatusOr<std::uint64_t>& version) {
    if (version.ok()) response->set_version(*version);
    reactor->Finish(end(version.status()));
  });
  return reactor;
}

}  // namespace

std::unique_ptr<ModelService> ModelService::Create(
    ModelRegistry* registry, const ModelServiceOptions& options,
    Observer* observer) {
  return std::make_unique<CallbackModelService>(registry, options, observer);
}

}  // namespace stepd
