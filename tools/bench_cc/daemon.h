// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// A stepd of the benchmark's own, on free ports of this machine.
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
  // Starts `binary` serving the checkpoint `model` and waits until it is ready.
  // Its port files and its log go to `directory`; `flags` are further flags of
  // `stepd serve`.
  // Errors: kUnavailable  it ended or was not ready in time; says its log
  static absl::StatusOr<std::unique_ptr<Daemon>> Start(
      const std::string& binary, const std::string& model,
      const std::string& directory, const std::vector<std::string>& flags);

  // Ends the process and waits for it.
  ~Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  pid_t pid() const { return pid_; }
  const std::string& address() const { return address_; }  // of gRPC
  const std::string& metrics_address() const { return metrics_address_; }

 private:
  explicit Daemon(pid_t pid) : pid_(pid) {}

  const pid_t pid_;
  std::string address_;
  std::string metrics_address_;
};

}  // namespace stepd::bench

#endif  // STEPD_TOOLS_BENCH_CC_DAEMON_H_
