// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/observe/http.h"

#include <httplib.h>

#include <atomic>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace stepd {
namespace {

constexpr char kMetricsType[] = "text/plain; version=0.0.4; charset=utf-8";
constexpr char kTextType[] = "text/plain; charset=utf-8";
constexpr int kNumThreads = 2;
constexpr std::size_t kMaxBodyBytes = 1024;

class HttplibServer final : public HttpServer {
 public:
  explicit HttplibServer(const Metrics* metrics);
  HttplibServer(const HttplibServer&) = delete;
  HttplibServer& operator=(const HttplibServer&) = delete;
  ~HttplibServer() override;

  bool Bind(const std::string& host, int port);
  void Serve();

  int port() const override { return port_; }
  void SetReadiness(Readiness readiness) override { readiness_ = readiness; }

 private:
  const char* ReadyText() const {
    return metrics_->is_journal_degraded() ? "ready, journal degraded\n"
                                           : "ready\n";
  }

  const Metrics* const metrics_;
  std::atomic<Readiness> readiness_{Readiness::kLoading};
  httplib::Server server_;
  int port_ = 0;
  std::thread thread_;
};

HttplibServer::HttplibServer(const Metrics* metrics) : metrics_(metrics) {
  server_.new_task_queue = [] { return new httplib::ThreadPool(kNumThreads); };
  server_.set_payload_max_length(kMaxBodyBytes);
  // Not the library's default: no SO_REUSEPORT, so that two daemons cannot
  // share the port by mistake.
  server_.set_socket_options([](socket_t socket) {
    const int yes = 1;
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  });
  server_.Get("/metrics",
              [this](const httplib::Request&, httplib::Response& response) {
                response.set_content(metrics_->Text(), kMetricsType);
              });
  server_.Get("/healthz",
              [](const httplib::Request&, httplib::Response& response) {
                response.set_content("ok\n", kTextType);
              });
  server_.Get(
      "/readyz", [this](const httplib::Request&, httplib::Response& response) {
        const Readiness readiness = readiness_;
        const bool is_ready = readiness == Readiness::kReady;
        response.status = is_ready ? 200 : 503;
        response.set_content(is_ready                            ? ReadyText()
                             : readiness == Readiness::kDraining ? "draining\n"
                                                                 : "loading\n",
                             kTextType);
      });
}

HttplibServer::~HttplibServer() {
  server_.stop();
  if (thread_.joinable()) thread_.join();
}

bool HttplibServer::Bind(const std::string& host, int port) {
  port_ = port == 0 ? server_.bind_to_any_port(host.c_str())
          : server_.bind_to_port(host.c_str(), port) ? port
                                                     : -1;
  return port_ > 0;
}

void HttplibServer::Serve() {
  thread_ = std::thread([this] { server_.listen_after_bind(); });
  // stop() before the loop runs would be lost.
  while (!server_.is_running()) std::this_thread::yield();
}

}  // namespace

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(
    const std::string& address, const Metrics* metrics) {
  const std::size_t colon = address.rfind(':');
  int port = 0;
  if (colon == std::string::npos ||
      !absl::SimpleAtoi(address.substr(colon + 1), &port) || port < 0 ||
      port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", address, "\" is no HOST:PORT"));
  }
  absl::string_view host(address.data(), colon);
  if (absl::ConsumePrefix(&host, "[")) absl::ConsumeSuffix(&host, "]");
  auto server = std::make_unique<HttplibServer>(metrics);
  if (!server->Bind(std::string(host), port)) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", address, " (in use?)"));
  }
  server->Serve();
  return server;
}

}  // namespace stepd
