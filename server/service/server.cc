// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/service/server.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "server/observe/log.h"
#include "server/service/pem_file.h"

namespace stepd {
namespace {

// Clients behind idle connections may ping this often.
constexpr int kMinPingIntervalMs = 10 * 1000;

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> Credentials(
    const ServerOptions& options) {
  if (options.tls_cert.empty()) return grpc::InsecureServerCredentials();
  const auto cert = ReadPem("tls.cert", options.tls_cert);
  if (!cert.ok()) return cert.status();
  const auto key = ReadPem("tls.key", options.tls_key);
  if (!key.ok()) return key.status();
  grpc::SslServerCredentialsOptions tls;
  if (!options.tls_client_ca.empty()) {
    const auto ca = ReadPem("tls.client_ca", options.tls_client_ca);
    if (!ca.ok()) return ca.status();
    tls.pem_root_certs = *ca;
    tls.client_certificate_request =
        GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY;
  }
  tls.pem_key_cert_pairs.push_back({*key, *cert});
  return grpc::SslServerCredentials(tls);
}

// gRPC's own errors, as lines of ours.
void LogForGrpc(gpr_log_func_args* args) {
  if (args->severity != GPR_LOG_SEVERITY_ERROR) return;
  Log(LogLevel::kWarning, "gRPC reports an error", {{"error", args->message}});
}

class GrpcServer final : public Server {
 public:
  explicit GrpcServer(std::vector<Service*> services)
      : services_(std::move(services)) {}

  absl::Status Start(const ServerOptions& options);

  int port() const override { return port_; }

  void StopHealth() override {
    server_->GetHealthCheckService()->SetServingStatus(false);
  }

  void Shutdown(absl::Duration grace) override {
    server_->GetHealthCheckService()->Shutdown();
    // Far enough, and no overflow.
    grace = std::min(grace, absl::Hours(24 * 365));
    server_->Shutdown(std::chrono::system_clock::now() +
                      absl::ToChronoMilliseconds(grace));
    server_->Wait();
  }

 private:
  const std::vector<Service*> services_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

absl::Status GrpcServer::Start(const ServerOptions& options) {
  auto credentials = Credentials(options);
  if (!credentials.ok()) return credentials.status();
  // Protobuf would write a line of its own for every message it cannot parse.
  google::protobuf::SetLogHandler(nullptr);
  gpr_set_log_function(LogForGrpc);
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();

  grpc::ServerBuilder builder;
  builder.AddListeningPort(options.address, *std::move(credentials), &port_);
  for (Service* service : services_) {
    builder.RegisterService(service->grpc_service());
  }
  builder.SetMaxReceiveMessageSize(options.max_message_bytes);
  builder.SetMaxSendMessageSize(-1);
  // Two daemons on one port would share its connections without a word.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS,
                             options.max_calls_per_connection);
  builder.AddChannelArgument(
      GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
      kMinPingIntervalMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) {
    return absl::UnavailableError(absl::StrCat(
        "cannot listen on ", options.address,
        " (in use, or a TLS file is malformed; gRPC's log says more)"));
  }
  if (absl::StartsWith(options.address, "unix:")) port_ = 0;
  grpc::HealthCheckServiceInterface* health = server_->GetHealthCheckService();
  health->SetServingStatus(true);
  for (const Service* service : services_) {
    health->SetServingStatus(service->name(), true);
  }
  return absl::OkStatus();
}

}  // namespace

bool IsLocalAddress(absl::string_view address) {
  if (absl::StartsWith(address, "unix:") ||
      absl::StartsWith(address, "unix-abstract:")) {
    return true;
  }
  for (const absl::string_view scheme : {"dns:///", "dns:", "ipv4:", "ipv6:"}) {
    if (absl::ConsumePrefix(&address, scheme)) break;
  }
  absl::string_view host = address.substr(0, address.rfind(':'));
  if (absl::ConsumePrefix(&host, "[")) absl::ConsumeSuffix(&host, "]");
  return host == "localhost" || host == "::1" || absl::StartsWith(host, "127.");
}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(
    const ServerOptions& options, std::vector<Service*> services) {
  if (options.tls_cert.empty() && !options.is_insecure_allowed &&
      !IsLocalAddress(options.address)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "server.address: ", options.address,
        " can be reached from other machines: set tls.cert and tls.key, or "
        "say --insecure"));
  }
  auto server = std::make_unique<GrpcServer>(std::move(services));
  const absl::Status status = server->Start(options);
  if (!status.ok()) return status;
  return server;
}

}  // namespace stepd
