// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tools/bench_cc/daemon.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <sstream>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace stepd::bench {
namespace {

constexpr std::chrono::seconds kStartTimeout{60};
constexpr std::chrono::milliseconds kPollInterval{20};

std::string ReadFile(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

// Only calls that are allowed between fork and exec.
[[noreturn]] void Become(const std::vector<char*>& arguments,
                         const char* log_path) {
  prctl(PR_SET_PDEATHSIG, SIGTERM);  // no daemon outlives its benchmark
  const int log = open(log_path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  dup2(log, STDOUT_FILENO);
  dup2(log, STDERR_FILENO);
  execv(arguments[0], arguments.data());
  _exit(127);
}

pid_t Spawn(std::vector<std::string> command, const std::string& log_path) {
  std::vector<char*> arguments;
  for (std::string& word : command) arguments.push_back(&word[0]);
  arguments.push_back(nullptr);
  const pid_t pid = fork();
  if (pid == 0) Become(arguments, log_path.c_str());
  return pid;
}

// The process stays to be waited for.
bool HasEnded(pid_t pid) {
  siginfo_t info = {};
  return waitid(P_PID, static_cast<id_t>(pid), &info,
                WEXITED | WNOHANG | WNOWAIT) == 0 &&
         info.si_pid == pid;
}

// The port in `path`, once it is there.
absl::StatusOr<std::string> WaitForPort(const std::string& path, pid_t pid) {
  const auto deadline = std::chrono::steady_clock::now() + kStartTimeout;
  while (std::chrono::steady_clock::now() < deadline) {
    std::string port;
    if (std::ifstream(path) >> port) return port;
    if (HasEnded(pid)) {
      return absl::UnavailableError("the server ended at once");
    }
    std::this_thread::sleep_for(kPollInterval);
  }
  return absl::UnavailableError("the server was not ready in time");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Daemon>> Daemon::Start(const Options& options) {
  const std::string port_file = absl::StrCat(options.directory, "/grpc.port");
  const std::string metrics_port_file =
      absl::StrCat(options.directory, "/http.port");
  const std::string log = absl::StrCat(options.directory, "/server.log");
  std::vector<std::string> command = options.command;
  command.insert(
      command.end(),
      {"serve", absl::StrCat("--model=", options.model),
       "--server.address=127.0.0.1:0", "--server.metrics_address=127.0.0.1:0",
       absl::StrCat("--server.port_file=", port_file),
       absl::StrCat("--server.metrics_port_file=", metrics_port_file)});
  command.insert(command.end(), options.flags.begin(), options.flags.end());
  std::unique_ptr<Daemon> daemon(new Daemon(Spawn(std::move(command), log)));
  // The port of gRPC is written last.
  const auto port = WaitForPort(port_file, daemon->pid_);
  if (!port.ok()) {
    return absl::UnavailableError(
        absl::StrCat(port.status().message(), ":\n", ReadFile(log)));
  }
  daemon->address_ = absl::StrCat("127.0.0.1:", *port);
  if (!options.has_metrics) return daemon;
  const auto metrics_port = WaitForPort(metrics_port_file, daemon->pid_);
  if (!metrics_port.ok()) return metrics_port.status();
  daemon->metrics_address_ = absl::StrCat("127.0.0.1:", *metrics_port);
  return daemon;
}

Daemon::~Daemon() {
  if (pid_ <= 0) return;
  kill(pid_, SIGTERM);
  waitpid(pid_, nullptr, 0);
}

}  // namespace stepd::bench
