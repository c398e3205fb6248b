// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/commands/serve.h"

#include <pthread.h>
#include <signal.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/commands/config_flags.h"
#include "server/commands/start_report.h"
#include "server/config/config.h"
#include "server/engine/context.h"
#include "server/engine/engine.h"
#include "server/engine/journal.h"
#include "server/engine/trajectory_buffer.h"
#include "server/journal/open_journal.h"
#include "server/observe/http.h"
#include "server/observe/log.h"
#include "server/observe/metrics.h"
#include "server/observe/version.h"
#include "server/registry/memory.h"
#include "server/registry/model_registry.h"
#include "server/service/model_service.h"
#include "server/service/policy_service.h"
#include "server/service/server.h"
#include "server/service/session_service.h"
#include "server/service/trajectory_service.h"

namespace stepd {
namespace {

// For open connections to be told that the server goes.
constexpr absl::Duration kShutdownGrace = absl::Milliseconds(100);

void SetUpLogOf(const LogConfig& config) {
  const LogLevel level = config.level == "debug"     ? LogLevel::kDebug
                         : config.level == "warning" ? LogLevel::kWarning
                         : config.level == "error"   ? LogLevel::kError
                                                     : LogLevel::kInfo;
  SetUpLog(level,
           config.format == "json" ? LogFormat::kJson : LogFormat::kText);
}

int NumExecutors(const ExecutorsConfig& config, const PolicySpec& spec) {
  if (config.count > 0) return static_cast<int>(config.count);
  if (spec.device != "cpu") return 1;
  return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

int NumCompanions(const ExecutorsConfig& config) {
  if (config.companions.has_value())
    return static_cast<int>(*config.companions);
  return std::thread::hardware_concurrency() > 1 ? 1 : 0;
}

// Errors: kInvalidArgument  a policy or a number that cannot have a window
absl::StatusOr<std::int64_t> KeepSteps(const SessionsConfig& sessions,
                                       const PolicySpec& spec) {
  if (sessions.context_policy == "error") return 0;
  const bool is_window = sessions.context_policy == "window";
  const absl::StatusOr<std::int64_t> least =
      is_window ? WindowSteps(spec) : absl::StatusOr<std::int64_t>(1);
  if (!least.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "sessions.context_policy: window: ", least.status().message()));
  }
  if (*least > sessions.max_steps) {
    return absl::InvalidArgumentError(
        absl::StrCat("sessions.max_steps: ", sessions.max_steps,
                     "; the policy sees ", *least, " steps"));
  }
  if (sessions.keep_steps == 0) {
    return is_window ? *least
                     : std::max<std::int64_t>(1, sessions.max_steps / 2);
  }
  if (sessions.keep_steps < *least) {
    return absl::InvalidArgumentError(
        absl::StrCat("sessions.keep_steps: ", sessions.keep_steps,
                     "; the policy sees ", *least, " steps"));
  }
  return sessions.keep_steps;
}

absl::StatusOr<ContextLimits> ContextLimitsOf(const SessionsConfig& sessions,
                                              const PolicySpec& spec) {
  const absl::StatusOr<std::int64_t> keep_steps = KeepSteps(sessions, spec);
  if (!keep_steps.ok()) return keep_steps.status();
  ContextLimits context;
  context.max_steps = sessions.max_steps;
  context.keep_steps = *keep_steps;
  context.forget_at = sessions.forget_at == "none"      ? Boundary::kNone
                      : sessions.forget_at == "episode" ? Boundary::kEpisode
                                                        : Boundary::kTask;
  return context;
}

EngineOptions EngineOptionsOf(const Config& config, const PolicySpec& spec) {
  EngineOptions options;
  options.num_executors = NumExecutors(config.executors, spec);
  options.has_own_cores = config.executors.affinity == "core";
  options.spin = config.executors.spin;
  options.max_batch_sessions =
      static_cast<int>(config.batching.max_batch_sessions);
  options.max_batch_tokens = config.batching.max_batch_tokens;
  options.max_wait = config.batching.max_wait;
  options.max_queued_tasks = static_cast<int>(config.batching.max_queued);
  options.cache_bytes = config.sessions.cache_bytes;
  options.max_sessions = config.sessions.max_sessions;
  options.idle_timeout = config.sessions.idle_timeout;
  options.kv_policy = config.sessions.kv_policy == "keep" ? KvPolicy::kKeep
                      : config.sessions.kv_policy == "recompute"
                          ? KvPolicy::kRecompute
                          : KvPolicy::kPin;
  return options;
}

std::string JournalText(const JournalConfig& journal) {
  if (journal.kind == "none") return "none: sessions end with this process";
  const std::string where =
      journal.kind == "redis" ? absl::StrCat("redis at ", journal.address)
      : journal.sync == "always"
          ? absl::StrCat("rocksdb in ", journal.path, ", synced always")
          : absl::StrCat("rocksdb in ", journal.path, ", synced every ",
                         absl::FormatDuration(journal.interval));
  return absl::StrCat(where, "; on an error steps ",
                      journal.on_error == "fail" ? "fail" : "go on");
}

PolicyServiceOptions ServiceOptionsOf(const Config& config) {
  PolicyServiceOptions options;
  options.codec.max_steps_per_call = config.limits.max_steps_per_call;
  options.codec.max_steps_per_evaluation =
      std::max(config.limits.max_steps_per_call, config.sessions.max_steps);
  options.codec.max_actors_per_batch = config.limits.max_actors_per_batch;
  options.codec.non_finite =
      config.inputs.nan == "pass" ? NonFinite::kPass : NonFinite::kRefuse;
  options.max_in_flight_per_stream =
      static_cast<int>(config.limits.max_in_flight_per_stream);
  options.max_message_bytes = config.server.max_message_bytes;
  options.max_sessions = config.sessions.max_sessions;
  const bool is_limited = config.sessions.context_policy == "error";
  options.max_steps_per_session = is_limited ? config.sessions.max_steps : 0;
  options.server_version = kVersion;
  return options;
}

SessionServiceOptions SessionServiceOptionsOf(const Config& config) {
  SessionServiceOptions options;
  options.max_forks = config.limits.max_actors_per_batch;
  return options;
}

ModelRegistryOptions RegistryOptionsOf(const Config& config) {
  ModelRegistryOptions options;
  options.path = config.model.path;
  options.version = static_cast<std::uint64_t>(config.model.version);
  if (!config.model.repository.empty()) {
    options.repository =
        absl::StrCat(config.model.repository, "/", config.model.name);
  }
  options.poll_interval = config.model.poll_interval;
  options.max_push_bytes = config.limits.max_push_bytes;
  options.max_versions = static_cast<int>(config.limits.max_versions);
  options.available_memory = [] { return AvailableMemory(); };
  return options;
}

// Of what not everybody who can step should be allowed.
bool IsAllowed(const std::string& choice, const Config& config) {
  if (choice != "auto") return choice == "allow";
  return IsLocalAddress(config.server.address) || !config.tls.client_ca.empty();
}

ModelServiceOptions ModelServiceOptionsOf(const Config& config) {
  ModelServiceOptions options;
  options.accepts_changes = IsAllowed(config.model.changes, config);
  return options;
}

TrajectoryServiceOptions TrajectoryServiceOptionsOf(const Config& config) {
  TrajectoryServiceOptions options;
  options.accepts_readers = IsAllowed(config.trajectories.readers, config);
  options.linger = config.trajectories.linger;
  return options;
}

ServerOptions ServerOptionsOf(const Config& config) {
  ServerOptions options;
  options.address = config.server.address;
  options.tls_cert = config.tls.cert;
  options.tls_key = config.tls.key;
  options.tls_client_ca = config.tls.client_ca;
  options.is_insecure_allowed = config.server.insecure;
  options.max_message_bytes = static_cast<int>(config.server.max_message_bytes);
  options.max_calls_per_connection =
      static_cast<int>(config.limits.max_calls_per_connection);
  return options;
}

// Readers see either no file or the whole port.
absl::Status WritePortFile(const std::string& path, int port) {
  if (path.empty()) return absl::OkStatus();
  const std::string partial = path + ".partial";
  std::ofstream(partial) << port << "\n";
  if (std::rename(partial.c_str(), path.c_str()) == 0) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("cannot write ", path));
}

// SIGTERM and SIGINT, which no thread takes but the one that waits for them.
class StopSignals {
 public:
  // Before any other thread starts: they inherit the mask.
  StopSignals() {
    sigemptyset(&set_);
    sigaddset(&set_, SIGTERM);
    sigaddset(&set_, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set_, nullptr);
  }
  void Wait() const {
    int signal = 0;
    sigwait(&set_, &signal);
  }
  // From now on they kill the process as they do by default.
  void Release() const { pthread_sigmask(SIG_UNBLOCK, &set_, nullptr); }

 private:
  sigset_t set_;
};

// The parts of a running daemon, in the order in which they start.
class Daemon {
 public:
  explicit Daemon(const Config& config) : config_(config) {}

  // Errors: kInvalidArgument and others of a bad configuration or checkpoint
  //         kUnavailable  an address cannot be listened on
  absl::Status Start(const PolicyOpener& open);

  // False: steps were left when drain_timeout had passed.
  bool Drain();

 private:
  absl::Status StartHttp();
  absl::Status StartJournal(const PolicySpec& spec);
  absl::Status StartEngine(const PolicyOpener& open);
  absl::Status StartServer();

  const Config config_;
  std::unique_ptr<Metrics> metrics_;
  std::unique_ptr<HttpServer> http_;
  std::unique_ptr<Journal> journal_;
  std::unique_ptr<TrajectoryBuffer> trajectories_;
  EngineOptions engine_options_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<ModelRegistry> registry_;
  std::unique_ptr<PolicyService> service_;
  std::unique_ptr<ModelService> model_service_;
  std::unique_ptr<SessionService> session_service_;
  std::unique_ptr<TrajectoryService> trajectory_service_;
  std::unique_ptr<Server> server_;
};

absl::Status Daemon::Start(const PolicyOpener& open) {
  absl::Status status = StartHttp();
  if (status.ok()) status = StartEngine(open);
  if (status.ok()) status = StartServer();
  return status;
}

absl::Status Daemon::StartHttp() {
  metrics_ = Metrics::Create();
  if (config_.server.metrics_address.empty()) return absl::OkStatus();
  auto http = HttpServer::Start(config_.server.metrics_address, metrics_.get());
  if (!http.ok()) {
    return absl::Status(
        http.status().code(),
        absl::StrCat("server.metrics_address: ", http.status().message()));
  }
  http_ = *std::move(http);
  return WritePortFile(config_.server.metrics_port_file, http_->port());
}

absl::Status Daemon::StartEngine(const PolicyOpener& open) {
  if (config_.model.path.empty() && config_.model.repository.empty()) {
    return absl::InvalidArgumentError(
        "model.path: is empty; say --model DIR or set it, or "
        "model.repository, in the file");
  }
  PolicySource source;
  source.device = config_.model.device;
  source.kernels = config_.model.kernels;
  source.dtype = config_.model.dtype;
  source.is_deterministic = config_.model.deterministic;
  source.num_loops = config_.model.n_loops;
  source.num_companions = NumCompanions(config_.executors);
  const SourceOpener open_version = [open, source](const std::string& path) {
    PolicySource version = source;
    version.path = path;
    return open(version);
  };
  auto registry = ModelRegistry::Create(RegistryOptionsOf(config_),
                                        open_version, metrics_.get());
  if (!registry.ok()) return registry.status();
  registry_ = *std::move(registry);
  const std::shared_ptr<ServedVersion> first = registry_->first();
  const PolicySpec& spec = first->policy()->spec();
  metrics_->SetPolicy(config_.model.name, first->number(), spec);
  const absl::Status status = StartJournal(spec);
  if (!status.ok()) return status;
  engine_options_ = EngineOptionsOf(config_, spec);
  const auto context = ContextLimitsOf(config_.sessions, spec);
  if (!context.ok()) return context.status();
  engine_options_.context = *context;
  engine_options_.journal = journal_.get();
  trajectories_ = std::make_unique<TrajectoryBuffer>(StepBounds{
      config_.trajectories.max_steps, config_.trajectories.max_bytes});
  engine_options_.finished_steps = trajectories_.get();
  auto engine = Engine::Create(first, engine_options_, metrics_.get());
  if (!engine.ok()) return engine.status();
  engine_ = *std::move(engine);
  registry_->Start(engine_.get());
  return absl::OkStatus();
}

absl::Status Daemon::StartJournal(const PolicySpec& spec) {
  auto journal =
      OpenJournal(config_.journal, config_.model.name, spec, metrics_.get());
  if (!journal.ok()) return journal.status();
  journal_ = *std::move(journal);
  return absl::OkStatus();
}

absl::Status Daemon::StartServer() {
  service_ = PolicyService::Create(engine_.get(), ServiceOptionsOf(config_),
                                   metrics_.get());
  model_service_ = ModelService::Create(
      registry_.get(), ModelServiceOptionsOf(config_), metrics_.get());
  session_service_ = SessionService::Create(
      engine_.get(), SessionServiceOptionsOf(config_), metrics_.get());
  trajectory_service_ = TrajectoryService::Create(
      engine_->spec(), TrajectoryServiceOptionsOf(config_), trajectories_.get(),
      metrics_.get());
  auto server =
      Server::Start(ServerOptionsOf(config_),
                    {service_.get(), model_service_.get(),
                     session_service_.get(), trajectory_service_.get()});
  if (!server.ok()) return server.status();
  server_ = *std::move(server);
  absl::Status status =
      WritePortFile(config_.server.port_file, server_->port());
  if (!status.ok()) {
    server_->Shutdown(absl::ZeroDuration());
    return status;
  }
  if (http_ != nullptr) http_->SetReadiness(Readiness::kReady);
  StartReport report;
  report.name = config_.model.name;
  report.version = static_cast<std::int64_t>(engine_->stable_version());
  report.path = config_.model.path.empty() ? config_.model.repository
                                           : config_.model.path;
  report.spec = &engine_->spec();
  report.engine = engine_options_;
  report.journal = JournalText(config_.journal);
  report.grpc_address = config_.server.address;
  report.grpc_port = server_->port();
  report.has_tls = !config_.tls.cert.empty();
  report.http_address = config_.server.metrics_address;
  report.http_port = http_ == nullptr ? 0 : http_->port();
  if (config_.log.format == "json") {
    Log(LogLevel::kInfo, "stepd is serving", StartReportFields(report));
  } else {
    Log(LogLevel::kInfo, FormatStartReport(report));
  }
  return absl::OkStatus();
}

bool Daemon::Drain() {
  const absl::Duration timeout = config_.server.drain_timeout;
  const absl::Time deadline = absl::Now() + timeout;
  Log(LogLevel::kInfo, "draining",
      {{"drain_timeout", absl::FormatDuration(timeout)}});
  server_->StopHealth();
  if (http_ != nullptr) http_->SetReadiness(Readiness::kDraining);
  // The engine first: what it still answers goes out through the streams.
  std::future<void> drained =
      std::async(std::launch::async, [this] { engine_->Drain(); });
  const bool is_drained =
      drained.wait_for(absl::ToChronoMilliseconds(timeout)) ==
      std::future_status::ready;
  if (!is_drained) {
    Log(LogLevel::kError, "drain_timeout passed; the rest is dropped");
    // The future's destructor would wait for the engine: leave without it.
    std::fflush(nullptr);
    std::_Exit(kExitFailed);
  }
  const bool are_answers_taken = service_->Drain(deadline - absl::Now());
  // A reader that has not caught up by then can count what it missed.
  trajectory_service_->Drain(kShutdownGrace);
  // What may still be open watches the health, for as long as it pleases.
  server_->Shutdown(kShutdownGrace);
  registry_->Stop();
  Log(LogLevel::kInfo, "stopped");
  return are_answers_taken;
}

int Serve(const ConfigFlags& flags, const PolicyOpener& open) {
  const StopSignals signals;
  const absl::StatusOr<Config> config = flags.Load();
  if (!config.ok()) return Fail(config.status(), kExitBadInput);
  SetUpLogOf(config->log);
  Daemon daemon(*config);
  const absl::Status status = daemon.Start(open);
  if (absl::IsUnavailable(status)) return Fail(status, kExitFailed);
  if (!status.ok()) return Fail(status, kExitBadInput);
  signals.Wait();
  signals.Release();
  return daemon.Drain() ? kExitOk : kExitFailed;
}

}  // namespace

void AddServeCommand(CLI::App* app, PolicyOpener open, int* exit_code) {
  CLI::App* serve = app->add_subcommand("serve", "Serve a policy over gRPC");
  auto flags = std::make_shared<ConfigFlags>();
  flags->AddTo(serve);
  serve->callback([flags, open = std::move(open), exit_code] {
    *exit_code = Serve(*flags, open);
  });
}

}  // namespace stepd
