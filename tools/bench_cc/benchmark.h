// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What stepd-bench measures: every case of (model, mode, number of actors)
// served, and the raw forward of the same actors, in rounds that run through
// all cases, so that what disturbs the machine for a while disturbs all of them
// alike. Figures of a case are medians over the rounds.
//
// Thread safety: none.

#ifndef STEPD_TOOLS_BENCH_CC_BENCHMARK_H_
#define STEPD_TOOLS_BENCH_CC_BENCHMARK_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tools/bench_cc/closed_loop.h"

namespace stepd::bench {

using Json = nlohmann::ordered_json;

struct BenchmarkOptions {
  // The server: one that runs already, or a binary to start for each model.
  std::string target;
  std::string metrics_address;  // of the target; may be empty
  std::string stepd;
  std::vector<std::string> stepd_flags;
  // Other servers, measured beside it with the same client and weights: NAME=
  // and a command that takes the flags of stepd (Daemon); needs `shapes`.
  std::vector<std::string> peers;
  // The same of servers with protocols of their own, and the command of their
  // actors: as python_client, and given --server NAME.
  std::vector<std::string> foreign_peers;
  std::string foreign_client;
  // A command that prints how many steps per second a peer's forward makes
  // without a server; given --model, --actors and --seconds.
  std::string raw_peer;

  // A command that steps actors against a server and prints how many steps per
  // second that were; given --target, --actors and --seconds.
  std::string python_client;
  // If not 0, a second stepd is measured in which so many sessions are idle.
  int idle_sessions = 0;

  // What is served: shapes of random weights, or one checkpoint.
  std::vector<std::string> shapes;
  std::string model;

  std::vector<Mode> modes;
  std::vector<int> actors;
  int rounds = 5;
  double seconds = 2.0;      // measured, of each served case and round
  double warm_up = 0.3;      // before them
  double raw_seconds = 1.0;  // of each raw case and round
  int episode_steps = 128;
  double steps_per_second = 0.0;  // that are due in the mode "open"
  int threads = 1;
  int connections = 1;
  int rows_per_batch = 32;
  int executors = 0;   // of the server and of the raw forward; 0: one per core
  int companions = 1;  // likewise
  std::string kernels = "auto";    // of both
  std::string dtype = "float32";   // of both
  std::string commit = "unknown";  // noted in the result
};

// Errors: kInvalidArgument  an option, named
//         those of loading, of the server and of its calls
absl::StatusOr<Json> RunBenchmark(const BenchmarkOptions& options);

}  // namespace stepd::bench

#endif  // STEPD_TOOLS_BENCH_CC_BENCHMARK_H_
