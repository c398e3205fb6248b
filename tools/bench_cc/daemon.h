// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// A server of the benchmark's own, on free ports of this machine: a stepd, or a
// peer that takes the same flags and has no metrics.
//
// Thread safety: none.

#ifndef STEPD_TOOLS_BENCH_CC_DAEMON_H_
#define STEPD_TOOLS_BENCH_CC_DAEMON_H_

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace stepd::bench {

class Daemon {
 public:
  struct Options {
    std::vector<std::string> command;  // the words before `serve`
    std::string model;                 // checkpoint
    std::string directory;             // for port files and the log
    std::vector<std::string> flags;    // further ones, of `stepd serve`
    bool has_metrics = true;
  };
  // Starts it and waits until it is ready.
  // Errors: kUnavailable  it ended or was not ready in time; says its log
  static absl::StatusOr<std::unique_ptr<Daemon>> Start(const Options& options);

  // Ends the process and waits for it.
  ~Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  pid_t pid() const { return pid_; }
  const std::string& address() const { return address_; }  // of gRPC
  // Empty: it has none.
  const std::string& metrics_address() const { return metrics_address_; }

 private:
  explicit Daemon(pid_t pid) : pid_(pid) {}

  const pid_t pid_;
  std::string address_;
  std::string metrics_address_;
};

}  // namespace stepd::bench

#endif  // STEPD_TOOLS_BENCH_CC_DAEMON_H_
