// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What the subcommands of `stepd` share. Each one is a pair of files here with
// a function Add<Name>Command(CLI::App*, ...) that main.cc calls.

#ifndef STEPD_SERVER_COMMANDS_COMMAND_H_
#define STEPD_SERVER_COMMANDS_COMMAND_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "model/policy.h"
#include "server/registry/version_source.h"

namespace stepd {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitBadInput = 2;  // flags, configuration, checkpoint

// Which checkpoint to load, and how (LoadOptions of model/loader.h).
struct PolicySource {
  std::string path;
  std::string device = "cpu";
  std::string kernels = "auto";
  std::string dtype = "float32";
  bool is_deterministic = false;
  std::int64_t num_loops = 0;  // 0: as the checkpoint says
  int num_companions = 0;
};

// LoadPolicy(), which only main.cc links: server/ builds without LibTorch.
using PolicyLoader = std::function<absl::StatusOr<std::unique_ptr<Policy>>(
    const PolicySource& source)>;

// Opens the checkpoint of a source, whose other members say how its versions
// are loaded.
using PolicyOpener =
    std::function<absl::StatusOr<std::shared_ptr<const VersionSource>>(
        const PolicySource& source)>;

// Prints "stepd: <error>" on stderr and returns `exit_code`.
int Fail(const absl::Status& status, int exit_code);

}  // namespace stepd

#endif  // STEPD_SERVER_COMMANDS_COMMAND_H_
