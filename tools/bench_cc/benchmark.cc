// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tools/bench_cc/benchmark.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <map>
#include <memory>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "model/loader.h"
#include "tools/bench_cc/daemon.h"
#include "tools/bench_cc/idle_sessions.h"
#include "tools/bench_cc/machine.h"
#include "tools/bench_cc/peak_flops.h"
#include "tools/bench_cc/random_checkpoint.h"
#include "tools/bench_cc/raw_forward.h"
#include "tools/bench_cc/server_counters.h"
#include "tools/bench_cc/statistics.h"
#include "tools/bench_cc/temporary_folder.h"

namespace stepd::bench {
namespace {

constexpr char kStepd[] = "stepd";
constexpr char kStepdIdle[] = "stepd, idle sessions";
constexpr char kPython[] = "python";
constexpr int kSessionsBesideIdle = 1000;
constexpr char kFiredPrefix[] = "stepd_batches_fired_total{reason=\"";

LoadClock::duration ToDuration(double seconds) {
  return std::chrono::duration_cast<LoadClock::duration>(
      std::chrono::duration<double>(seconds));
}

// One model: where it is served, and the same weights in this process.
struct Model {
  std::string name;
  std::string server = kStepd;  // or the name of a peer
  bool speaks_batches = true;
  bool speaks_ours = true;
  std::string python_client;  // command of its actors in Python; empty: none
  std::string checkpoint;     // empty: unknown
  std::unique_ptr<TemporaryFolder> folder;
  std::unique_ptr<Daemon> daemon;  // nullptr: not ours
  std::string target;
  std::string metrics_address;
  std::unique_ptr<Policy> policy;                  // nullptr: no raw forward
  std::map<int, std::unique_ptr<RawForward>> raw;  // by number of actors
};

class Benchmark {
 public:
  explicit Benchmark(const BenchmarkOptions& options) : options_(options) {}

  absl::StatusOr<Json> Run();

 private:
  absl::Status SetUp();
  absl::Status AddModel(const std::string& shape);
  absl::Status StartDaemon(const std::string& checkpoint, Model* model);
  absl::Status AddRaw(const std::string& checkpoint, Model* model);
  absl::Status AddPeer(const std::string& peer, bool speaks_ours,
                       std::size_t like);
  int NumExecutors() const;

  absl::Status RunRound();
  absl::Status RunActors(Model* model, int actors);
  absl::StatusOr<Json> RunRaw(Model* model, int actors);
  absl::StatusOr<double> RunRawPeer(const Model& model, int actors) const;
  absl::Status AddIdle(const Model& like);
  absl::StatusOr<Json> RunServed(const Model& model, Mode mode, int actors);
  absl::StatusOr<ClosedLoopResult> Measure(const Model& model, ClosedLoop* loop,
                                           Json* figures) const;
  absl::StatusOr<Json> RunPythonClient(const Model& model, int actors) const;
  void AddRound(const Model& model, absl::string_view mode, int actors,
                Json figures);
  void CompareWithPeers();
  Json OptionsJson() const;

  const BenchmarkOptions& options_;
  std::vector<Model> models_;
  std::string server_version_;
  double idle_session_bytes_ = 0.0;  // beyond a session's log
  Json cases_ = Json::array();
};

// ---- Setting up -------------------------------------------------------------

int Benchmark::NumExecutors() const {
  if (options_.executors > 0) return options_.executors;
  return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

absl::Status Benchmark::SetUp() {
  if (!options_.target.empty() || !options_.model.empty()) {
    return AddModel("");
  }
  absl::Status status;
  for (const std::string& shape : options_.shapes) {
    if (status.ok()) status = AddModel(shape);
    const std::size_t ours = models_.size() - 1;
    for (const std::string& peer : options_.peers) {
      if (status.ok()) status = AddPeer(peer, /*speaks_ours=*/true, ours);
    }
    for (const std::string& peer : options_.foreign_peers) {
      if (status.ok()) status = AddPeer(peer, /*speaks_ours=*/false, ours);
    }
    if (status.ok() && options_.idle_sessions > 0) {
      status = AddIdle(models_[ours]);
    }
  }
  return status;
}

// Another server of the weights of model `like`.
absl::Status Benchmark::AddPeer(const std::string& peer, bool speaks_ours,
                                std::size_t like) {
  const std::pair<std::string, std::string> parts =
      absl::StrSplit(peer, absl::MaxSplits('=', 1));
  Model model;
  model.name = models_[like].name;
  model.server = parts.first;
  model.speaks_batches = false;
  model.speaks_ours = speaks_ours;
  model.python_client = speaks_ours ? options_.python_client
                                    : absl::StrCat(options_.foreign_client,
                                                   " --server ", parts.first);
  auto folder = TemporaryFolder::Create();
  if (!folder.ok()) return folder.status();
  model.folder = *std::move(folder);
  Daemon::Options options;
  options.command = absl::StrSplit(parts.second, ' ', absl::SkipEmpty());
  options.model = models_[like].checkpoint;
  options.directory = model.folder->path();
  options.has_metrics = false;
  auto daemon = Daemon::Start(options);
  if (!daemon.ok()) return daemon.status();
  model.daemon = *std::move(daemon);
  model.target = model.daemon->address();
  models_.push_back(std::move(model));
  return absl::OkStatus();
}

// The same server once more, with sessions that nobody uses. What one takes is
// taken over the last ones, when the cache is full and its memory there.
absl::Status Benchmark::AddIdle(const Model& like) {
  Model model;
  model.name = like.name;
  model.server = kStepdIdle;
  auto folder = TemporaryFolder::Create();
  if (!folder.ok()) return folder.status();
  model.folder = *std::move(folder);
  absl::Status status = StartDaemon(like.checkpoint, &model);
  const int num_first = options_.idle_sessions / 2;
  if (status.ok()) status = OpenIdleSessions(model.target, 0, num_first);
  if (!status.ok()) return status;
  const auto before = ReadResidentBytes(model.daemon->pid());
  status = OpenIdleSessions(model.target, num_first, options_.idle_sessions);
  const auto after = ReadResidentBytes(model.daemon->pid());
  const auto step_bytes = StepBytes(model.target);
  status.Update(before.status());
  status.Update(after.status());
  status.Update(step_bytes.status());
  if (!status.ok()) return status;
  idle_session_bytes_ =
      (*after - *before) / (options_.idle_sessions - num_first) -
      static_cast<double>(*step_bytes);
  models_.push_back(std::move(model));
  return absl::OkStatus();
}

// An empty shape: the checkpoint of the options, or whatever the target serves.
absl::Status Benchmark::AddModel(const std::string& shape) {
  Model model;
  model.python_client = options_.python_client;
  auto folder = TemporaryFolder::Create();
  if (!folder.ok()) return folder.status();
  model.folder = *std::move(folder);
  std::string checkpoint = options_.model;
  model.name = shape.empty() ? "model" : shape;
  if (!shape.empty()) {
    const auto found = FindPolicyShape(shape);
    if (!found.ok()) return found.status();
    checkpoint = model.folder->path();
    const absl::Status status =
        WriteRandomCheckpoint(*found, kWeightsSeed, checkpoint);
    if (!status.ok()) return status;
  }
  model.checkpoint = checkpoint;
  model.target = options_.target;
  model.metrics_address = options_.metrics_address;
  absl::Status status;
  if (model.target.empty()) status = StartDaemon(checkpoint, &model);
  if (status.ok() && !checkpoint.empty()) status = AddRaw(checkpoint, &model);
  if (status.ok()) models_.push_back(std::move(model));
  return status;
}

absl::Status Benchmark::StartDaemon(const std::string& checkpoint,
                                    Model* model) {
  std::vector<std::string> flags = {
      absl::StrCat("--executors.count=", NumExecutors()),
      absl::StrCat("--executors.companions=", options_.companions),
      absl::StrCat("--model.kernels=", options_.kernels),
      absl::StrCat("--model.dtype=", options_.dtype)};
  if (options_.idle_sessions > 0) {
    flags.push_back(absl::StrCat("--sessions.max_sessions=",
                                 options_.idle_sessions + kSessionsBesideIdle));
  }
  flags.insert(flags.end(), options_.stepd_flags.begin(),
               options_.stepd_flags.end());
  Daemon::Options options;
  options.command = {options_.stepd};
  options.model = checkpoint;
  options.directory = model->folder->path();
  options.flags = std::move(flags);
  auto daemon = Daemon::Start(options);
  if (!daemon.ok()) return daemon.status();
  model->daemon = *std::move(daemon);
  model->target = model->daemon->address();
  model->metrics_address = model->daemon->metrics_address();
  return absl::OkStatus();
}

absl::Status Benchmark::AddRaw(const std::string& checkpoint, Model* model) {
  LoadOptions load;
  load.kernels = options_.kernels;
  load.dtype = options_.dtype;
  load.num_companions = options_.companions;
  auto policy = LoadPolicy(checkpoint, load);
  if (!policy.ok()) return policy.status();
  model->policy = *std::move(policy);
  for (const int actors : options_.actors) {
    RawForwardOptions options;
    options.num_actors = actors;
    options.num_threads = NumExecutors();
    options.episode_steps = options_.episode_steps;
    auto raw = RawForward::Create(model->policy.get(), options);
    if (!raw.ok()) return raw.status();
    model->raw[actors] = *std::move(raw);
  }
  return absl::OkStatus();
}

// ---- Measuring --------------------------------------------------------------

absl::StatusOr<Json> Benchmark::Run() {
  absl::Status status = SetUp();
  const Json load_before = LoadAverage();
  for (int round = 1; round <= options_.rounds && status.ok(); ++round) {
    status = RunRound();
    std::fprintf(stderr, "round %d of %d done\n", round, options_.rounds);
  }
  if (!status.ok()) return status;
  CompareWithPeers();
  for (Json& figures : cases_) {
    figures["median"] = Medians(figures["rounds"]);
  }
  Json result;
  result["date"] = UtcDate();
  result["commit"] = options_.commit;
  result["machine"] = DescribeMachine();
  result["machine"]["load_average_before"] = load_before;
  result["machine"]["load_average_after"] = LoadAverage();
  result["versions"] = LibraryVersions();
  result["versions"]["stepd"] = server_version_;
  result["options"] = OptionsJson();
  if (options_.idle_sessions > 0) {
    result["idle_session_bytes"] = idle_session_bytes_;
  }
  result["cases"] = std::move(cases_);
  return result;
}

absl::Status Benchmark::RunRound() {
  for (Model& model : models_) {
    for (const int actors : options_.actors) {
      const absl::Status status = RunActors(&model, actors);
      if (!status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

absl::Status Benchmark::RunActors(Model* model, int actors) {
  const auto raw = RunRaw(model, actors);
  if (!raw.ok()) return raw.status();
  for (const Mode mode : options_.modes) {
    if (!model->speaks_ours) break;
    if (!model->speaks_batches && mode == Mode::kBatch) continue;
    auto figures = RunServed(*model, mode, actors);
    if (!figures.ok()) return figures.status();
    figures->update(*raw);
    AddRound(*model, Name(mode), actors, *std::move(figures));
  }
  if (model->python_client.empty()) return absl::OkStatus();
  auto figures = RunPythonClient(*model, actors);
  if (!figures.ok()) return figures.status();
  AddRound(*model, kPython, actors, *std::move(figures));
  return absl::OkStatus();
}

absl::StatusOr<Json> Benchmark::RunRaw(Model* model, int actors) {
  Json figures = Json::object();
  if (model->policy == nullptr) return figures;
  const double peak = MeasurePeakFlops();
  const auto raw = model->raw[actors]->Run(absl::Seconds(options_.raw_seconds));
  if (!raw.ok()) return raw.status();
  figures["raw_steps_per_second"] = raw->steps_per_second;
  figures["raw_batch"] = raw->batch;
  figures["raw_forward_ms"] = raw->forward_seconds * 1e3;
  figures["raw_cpu_us_per_step"] = raw->cpu_seconds_per_step * 1e6;
  figures["peak_gflops"] = peak * 1e-9;
  figures["raw_gflops"] = LinearFlopsPerStep(model->policy->spec()) /
                          raw->cpu_seconds_per_step * 1e-9;
  if (peak > 0.0) {
    figures["raw_over_peak"] =
        figures["raw_gflops"].get<double>() / (peak * 1e-9);
  }
  if (options_.raw_peer.empty()) return figures;
  const auto peer = RunRawPeer(*model, actors);
  if (!peer.ok()) return peer.status();
  figures["raw_peer_steps_per_second"] = *peer;
  figures["raw_over_peer"] = raw->steps_per_second / *peer;
  return figures;
}

// What a command prints is its figure.
absl::StatusOr<double> FigureOf(const std::string& command) {
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"),
                                                   pclose);
  double figure = 0.0;
  if (pipe == nullptr || std::fscanf(pipe.get(), "%lf", &figure) != 1 ||
      figure <= 0.0) {
    return absl::UnavailableError(
        absl::StrCat("\"", command, "\" printed no figure"));
  }
  return figure;
}

absl::StatusOr<double> Benchmark::RunRawPeer(const Model& model,
                                             int actors) const {
  return FigureOf(absl::StrCat(options_.raw_peer, " --model '",
                               model.checkpoint, "' --actors ", actors,
                               " --seconds ", options_.raw_seconds));
}

absl::StatusOr<Json> Benchmark::RunPythonClient(const Model& model,
                                                int actors) const {
  const auto rate = FigureOf(absl::StrCat(model.python_client, " --target ",
                                          model.target, " --actors ", actors,
                                          " --seconds ", options_.seconds));
  if (!rate.ok()) return rate.status();
  return Json{{"steps_per_second", *rate}};
}

absl::StatusOr<Json> Benchmark::RunServed(const Model& model, Mode mode,
                                          int actors) {
  ClosedLoopOptions options;
  options.target = model.target;
  options.mode = mode;
  options.num_actors = actors;
  options.num_threads = options_.threads;
  options.num_connections = options_.connections;
  options.rows_per_batch = options_.rows_per_batch;
  options.episode_steps = options_.episode_steps;
  options.steps_per_second = options_.steps_per_second;
  auto loop = ClosedLoop::Create(options);
  if (!loop.ok()) return loop.status();
  if (model.server == kStepd) server_version_ = (*loop)->server_version();
  Json figures;
  const auto result = Measure(model, loop->get(), &figures);
  if (!result.ok()) return result.status();
  figures["steps_per_second"] = result->steps_per_second;
  for (const auto& [name, share] :
       {std::pair("p50_ms", 0.5), std::pair("p90_ms", 0.9),
        std::pair("p99_ms", 0.99), std::pair("p99.9_ms", 0.999)}) {
    figures[name] = Percentile(result->latencies, share) * 1e3;
  }
  if (figures.contains("forward_ms")) {
    const double forward = figures["forward_ms"];
    figures["added_p50_ms"] = figures["p50_ms"].get<double>() - forward;
    figures["added_p99_ms"] = figures["p99_ms"].get<double>() - forward;
  }
  return figures;
}

// What the server has counted, per step, batch or second of the window.
void AddServerFigures(const Samples& growth, Json* figures) {
  const double batches = Get(growth, "stepd_batches_total");
  const double steps = Get(growth, "stepd_queue_wait_seconds_count");
  if (batches == 0.0 || steps == 0.0) return;
  (*figures)["batch"] = Get(growth, "stepd_batch_sessions_sum") / batches;
  (*figures)["queue_wait_ms"] =
      Get(growth, "stepd_queue_wait_seconds_sum") / steps * 1e3;
  (*figures)["forward_ms"] =
      Get(growth, "stepd_forward_seconds_sum") / batches * 1e3;
  for (const auto& [name, value] : growth) {
    if (!absl::StartsWith(name, kFiredPrefix) || value == 0.0) continue;
    std::string reason = name.substr(sizeof(kFiredPrefix) - 1);
    reason.resize(reason.find('"'));
    (*figures)[absl::StrCat("fired_", reason)] = value / batches;
  }
}

void AddCpuFigures(const CpuTime& before, const CpuTime& after, double seconds,
                   Json* figures) {
  (*figures)["server_cpus"] = (after.process - before.process) / seconds;
  (*figures)["executor_cpus"] = (after.executors - before.executors) / seconds;
  (*figures)["machine_cpus"] = (after.machine - before.machine) / seconds;
}

// Runs the loop on a thread of its own while this one reads the server's
// counters when the window begins and ends.
absl::StatusOr<ClosedLoopResult> Benchmark::Measure(const Model& model,
                                                    ClosedLoop* loop,
                                                    Json* figures) const {
  Window window;
  window.begin = LoadClock::now() + ToDuration(options_.warm_up);
  window.end = window.begin + ToDuration(options_.seconds);
  absl::StatusOr<ClosedLoopResult> result =
      absl::InternalError("the loop has not run");
  std::thread thread([&] { result = loop->Run(window); });
  Samples samples[2];
  CpuTime times[2];
  absl::Status status;
  for (int i = 0; i < 2; ++i) {
    std::this_thread::sleep_until(i == 0 ? window.begin : window.end);
    if (model.daemon != nullptr) {
      const auto time = ReadCpuTime(model.daemon->pid());
      if (time.ok()) times[i] = *time;
      status.Update(time.status());
    }
    if (!model.metrics_address.empty()) {
      auto page = ReadMetrics(model.metrics_address);
      status.Update(page.status());
      if (page.ok()) samples[i] = *std::move(page);
    }
  }
  thread.join();
  if (!result.ok()) return result;
  if (!status.ok()) return status;
  const Samples growth = Growth(samples[0], samples[1]);
  AddServerFigures(growth, figures);
  if (model.daemon != nullptr) {
    AddCpuFigures(times[0], times[1], options_.seconds, figures);
  }
  if (model.server == kStepd && model.daemon != nullptr) {
    const double process = std::max(times[1].process - times[0].process, 1e-9);
    (*figures)["forward_share"] =
        Get(growth, "stepd_forward_seconds_sum") / process;
    (*figures)["executor_share"] =
        (times[1].executors - times[0].executors) / process;
  }
  return result;
}

// ---- The result -------------------------------------------------------------

void Benchmark::AddRound(const Model& model, absl::string_view mode, int actors,
                         Json figures) {
  const double steps = figures["steps_per_second"];
  if (figures.contains("server_cpus") && steps > 0.0) {
    figures["cpu_us_per_step"] =
        figures["server_cpus"].get<double>() / steps * 1e6;
  }
  if (figures.contains("raw_steps_per_second")) {
    figures["served_over_raw"] =
        steps / figures["raw_steps_per_second"].get<double>();
  }
  Json* found = nullptr;
  for (Json& one : cases_) {
    if (one["model"] == model.name && one["server"] == model.server &&
        one["actors"] == actors && one["mode"] == std::string(mode)) {
      found = &one;
    }
  }
  if (found == nullptr) {
    cases_.push_back({{"model", model.name},
                      {"server", model.server},
                      {"mode", std::string(mode)},
                      {"actors", actors},
                      {"median", Json::object()},
                      {"rounds", Json::array()}});
    found = &cases_.back();
  }
  (*found)["rounds"].push_back(std::move(figures));
}

double RateOf(const Json& round) {
  return round["steps_per_second"].get<double>();
}

// Round by round, against the peer that was fastest in it.
void Benchmark::CompareWithPeers() {
  std::vector<Json*> ours;
  for (Json& one : cases_) {
    if (one["server"] == kStepd) ours.push_back(&one);
  }
  for (const Json& peer : cases_) {
    const auto same = std::find_if(ours.begin(), ours.end(), [&](Json* one) {
      return peer["server"] != kStepd && peer["server"] != kStepdIdle &&
             (*one)["model"] == peer["model"] &&
             (*one)["mode"] == peer["mode"] &&
             (*one)["actors"] == peer["actors"];
    });
    if (same == ours.end()) continue;
    Json& rounds = (**same)["rounds"];
    for (std::size_t i = 0; i < rounds.size(); ++i) {
      const double ratio = RateOf(rounds[i]) / RateOf(peer["rounds"][i]);
      rounds[i]["over_best_peer"] =
          std::min(ratio, rounds[i].value("over_best_peer", ratio));
    }
  }
}

Json Benchmark::OptionsJson() const {
  return {{"rounds", options_.rounds},
          {"seconds", options_.seconds},
          {"warm_up", options_.warm_up},
          {"raw_seconds", options_.raw_seconds},
          {"episode_steps", options_.episode_steps},
          {"threads", options_.threads},
          {"connections", options_.connections},
          {"rows_per_batch", options_.rows_per_batch},
          {"steps_per_second", options_.steps_per_second},
          {"idle_sessions", options_.idle_sessions},
          {"executors", NumExecutors()},
          {"companions", options_.companions},
          {"kernels", options_.kernels},
          {"dtype", options_.dtype},
          {"stepd_flags", options_.stepd_flags},
          {"peers", options_.peers},
          {"foreign_peers", options_.foreign_peers},
          {"raw_peer", options_.raw_peer},
          {"python_client", options_.python_client}};
}

absl::Status CheckOptions(const BenchmarkOptions& options) {
  const auto check = [](bool is_good, absl::string_view what) {
    return is_good ? absl::OkStatus() : absl::InvalidArgumentError(what);
  };
  absl::Status status =
      check(options.target.empty() != options.stepd.empty(),
            "want --target (a running server) or --stepd (a binary), not both");
  status.Update(check(options.seconds > 0.0, "seconds: want more than 0"));
  status.Update(
      check(options.raw_seconds > 0.0, "raw-seconds: want more than 0"));
  status.Update(
      check((options.peers.empty() && options.foreign_peers.empty()) ||
                !options.shapes.empty(),
            "peer: want --shape, whose weights it can have"));
  for (const auto* peers : {&options.peers, &options.foreign_peers}) {
    for (const std::string& peer : *peers) {
      status.Update(check(peer.find('=') != std::string::npos,
                          "peer: want NAME=COMMAND"));
    }
  }
  status.Update(
      check(options.foreign_peers.empty() == options.foreign_client.empty(),
            "foreign-peer: want --foreign-client beside it"));
  const auto is_open = [](Mode mode) { return mode == Mode::kOpen; };
  status.Update(check(
      options.steps_per_second > 0.0 ||
          std::none_of(options.modes.begin(), options.modes.end(), is_open),
      "rate: want the steps per second of the open loop"));
  status.Update(check(options.idle_sessions == 0 || !options.stepd.empty(),
                      "idle-sessions: want --stepd, to start a second one"));
  for (const int actors : options.actors) {
    status.Update(check(actors > 0, "actors: want 1 or more"));
  }
  return status;
}

}  // namespace

absl::StatusOr<Json> RunBenchmark(const BenchmarkOptions& options) {
  const absl::Status status = CheckOptions(options);
  if (!status.ok()) return status;
  return Benchmark(options).Run();
}

}  // namespace stepd::bench
