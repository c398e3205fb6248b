// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// stepd-bench: see docs/benchmarks.md.

#include <CLI/CLI.hpp>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "tools/bench_cc/benchmark.h"
#include "tools/bench_cc/closed_loop.h"
#include "tools/bench_cc/forward_report.h"
#include "tools/bench_cc/random_checkpoint.h"
#include "tools/bench_cc/report.h"
#include "tools/bench_cc/session_figures.h"

namespace stepd::bench {
namespace {

struct Flags {
  BenchmarkOptions benchmark;
  std::vector<std::string> modes = {"unary", "stream", "batch"};
  bool is_forward = false;
  bool is_sessions = false;
  std::string checkpoint;  // to write, and nothing else
  ForwardOptions forward;
  std::string json;
  std::string markdown;
  std::string compare;
};

void AddServerFlags(CLI::App* app, Flags* flags) {
  BenchmarkOptions& options = flags->benchmark;
  app->add_option("--stepd", options.stepd,
                  "binary to start for each policy, on free ports");
  app->add_option("--stepd-flag", options.stepd_flags,
                  "a further flag of `stepd serve`, as --batching.max_wait=1ms")
      ->allow_extra_args(false);
  app->add_option("--peer", options.peers,
                  "NAME=COMMAND of another server, measured beside stepd")
      ->allow_extra_args(false);
  app->add_option("--foreign-peer", options.foreign_peers,
                  "the same of a server with a protocol of its own")
      ->allow_extra_args(false);
  app->add_option("--foreign-client", options.foreign_client,
                  "as --python-client, for them; is also given --server NAME");
  app->add_option("--raw-peer", options.raw_peer,
                  "command that prints the steps per second of its forward");
  app->add_option("--python-client", options.python_client,
                  "command that prints the steps per second of its actors");
  app->add_option("--idle-sessions", options.idle_sessions,
                  "measure a second stepd, in which so many are open");
  app->add_option("--target", options.target,
                  "address of a server that runs already, instead");
  app->add_option("--metrics", options.metrics_address,
                  "HOST:PORT of the target's /metrics");
  app->add_option("--model", options.model,
                  "checkpoint directory, instead of shapes; with --target: the "
                  "one it serves, for the raw forward");
  app->add_option("--shape", options.shapes,
                  "policies of random weights: reference, small, tiny")
      ->delimiter(',');
  app->add_option("--executors", options.executors,
                  "threads that compute, served and raw; 0: one per core");
  app->add_option("--companions", options.companions,
                  "threads that share lone small batches, served and raw");
  app->add_option("--kernels", options.kernels, "auto, native or reference");
  app->add_option("--dtype", options.dtype, "float32 or bfloat16");
}

void AddLoadFlags(CLI::App* app, Flags* flags) {
  BenchmarkOptions& options = flags->benchmark;
  app->add_option("--actors", options.actors, "how many; one or more numbers")
      ->delimiter(',');
  app->add_option("--mode", flags->modes, "unary, stream, batch, open")
      ->delimiter(',');
  app->add_option("--rounds", options.rounds)
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app->add_option("--seconds", options.seconds, "measured per case and round")
      ->capture_default_str();
  app->add_option("--warm-up", options.warm_up, "seconds before them")
      ->capture_default_str();
  app->add_option("--raw-seconds", options.raw_seconds,
                  "of the raw forward, per round")
      ->capture_default_str();
  app->add_option("--episode", options.episode_steps, "steps of an episode")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app->add_option("--threads", options.threads, "of the client")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app->add_option("--connections", options.connections,
                  "that the actors share; each is a stream in mode stream")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app->add_option("--rate", options.steps_per_second,
                  "steps per second that are due in mode open");
  app->add_option("--rows", options.rows_per_batch,
                  "actors in a StepBatch, at most")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
}

absl::Status WriteJson(const Json& result, const std::string& path) {
  std::ofstream file(path);
  file << result.dump(1) << "\n";
  file.close();
  if (file) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("cannot write ", path));
}

absl::StatusOr<Json> ReadJson(const std::string& path) {
  std::ifstream file(path);
  Json result = Json::parse(file, nullptr, /*allow_exceptions=*/false);
  if (!result.is_discarded()) return result;
  return absl::InvalidArgumentError(absl::StrCat(path, ": is no JSON"));
}

absl::StatusOr<Json> Measure(Flags* flags) {
  for (const std::string& name : flags->modes) {
    const auto mode = FindMode(name);
    if (!mode.ok()) return mode.status();
    flags->benchmark.modes.push_back(*mode);
  }
  auto result = RunBenchmark(flags->benchmark);
  if (!result.ok() || flags->json.empty()) return result;
  const absl::Status status = WriteJson(*result, flags->json);
  if (!status.ok()) return status;
  return result;
}

absl::StatusOr<std::string> WriteCheckpoint(const Flags& flags) {
  const auto shape = FindPolicyShape(flags.benchmark.shapes.front());
  if (!shape.ok()) return shape.status();
  const absl::Status status =
      WriteRandomCheckpoint(*shape, kWeightsSeed, flags.checkpoint);
  if (!status.ok()) return status;
  return std::string();
}

// The figures of what runs on this thread alone.
absl::StatusOr<std::string> RunAlone(Flags* flags, Measurement measure) {
  BenchmarkOptions& options = flags->benchmark;
  flags->forward.checkpoint = options.model;
  flags->forward.rounds = options.rounds;
  auto result =
      BenchmarkForward(measure, flags->forward, options.shapes.front());
  if (!result.ok()) return result.status();
  (*result)["commit"] = options.commit;
  if (!flags->json.empty()) {
    const absl::Status status = WriteJson(*result, flags->json);
    if (!status.ok()) return status;
  }
  return FormatForward(*result);
}

absl::StatusOr<std::string> Run(Flags* flags) {
  if (!flags->checkpoint.empty()) return WriteCheckpoint(*flags);
  if (flags->is_forward) return RunAlone(flags, MeasureForward);
  if (flags->is_sessions) return RunAlone(flags, MeasureSessions);
  auto result =
      flags->markdown.empty() ? Measure(flags) : ReadJson(flags->markdown);
  if (!result.ok()) return result.status();
  if (!flags->compare.empty()) {
    const auto before = ReadJson(flags->compare);
    if (!before.ok()) return before.status();
    const absl::Status status = CompareWith(*before, &*result);
    if (!status.ok()) return status;
  }
  return FormatMarkdown(*result);
}

int Main(int argc, char** argv) {
  CLI::App app(
      "Measures a stepd: steps per second, latency, batches, and how "
      "much of the raw forward's rate is left.");
  Flags flags;
  flags.benchmark.shapes = {"reference", "small"};
  flags.benchmark.actors = {1, 8, 32, 64};
  AddServerFlags(&app, &flags);
  AddLoadFlags(&app, &flags);
  app.add_flag("--forward", flags.is_forward,
               "the figures of the forward pass alone, on one core: contexts, "
               "kernels, precision, memory");
  app.add_flag("--sessions", flags.is_sessions,
               "what an executor takes for a fork and for a reset, by the "
               "session's length");
  app.add_option("--write-checkpoint", flags.checkpoint,
                 "only write random weights of --shape into this directory");
  app.add_option("--out,--json", flags.json, "file for all figures");
  app.add_option("--commit", flags.benchmark.commit, "noted in the file");
  app.add_option("--markdown", flags.markdown,
                 "only print the table of such a file");
  app.add_option("--compare", flags.compare,
                 "an earlier --out: adds how many times its steps/s");
  CLI11_PARSE(app, argc, argv);
  const auto text = Run(&flags);
  if (!text.ok()) {
    std::fprintf(stderr, "stepd-bench: %s\n", text.status().ToString().c_str());
    return 1;
  }
  std::fputs(text->c_str(), stdout);
  return 0;
}

}  // namespace
}  // namespace stepd::bench

int main(int argc, char** argv) {
  // The distribution's Abseil looks for deadlocks at every lock, of which gRPC
  // takes many; the client shall take little of the cores it shares.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  return stepd::bench::Main(argc, argv);
}
