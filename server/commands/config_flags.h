// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Every key of the configuration as a flag of a subcommand.

#ifndef STEPD_SERVER_COMMANDS_CONFIG_FLAGS_H_
#define STEPD_SERVER_COMMANDS_CONFIG_FLAGS_H_

#include <string>

#include "absl/status/statusor.h"
#include "server/config/config.h"

namespace CLI {
class App;
}

namespace stepd {

// Thread safety: none.
class ConfigFlags {
 public:
  // Adds --config, --section.key for every key, --model and --insecure.
  // `this` must outlive the parsing of `app`.
  void AddTo(CLI::App* app);

  // After the parsing: file, environment and flags together.
  // Errors: those of LoadConfig()
  absl::StatusOr<Config> Load() const;

 private:
  std::string file_;
  ConfigSettings flags_;
};

}  // namespace stepd

#endif  // STEPD_SERVER_COMMANDS_CONFIG_FLAGS_H_
