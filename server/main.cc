// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The command line. Only this file links LibTorch.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <climits>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "model/loader.h"
#include "server/commands/command.h"
#include "server/commands/inspect.h"
#include "server/commands/serve.h"
#include "server/commands/verify.h"
#include "server/observe/version.h"

namespace {

absl::StatusOr<std::unique_ptr<stepd::Policy>> Load(
    const stepd::PolicySource& source) {
  stepd::LoadOptions options;
  options.device = source.device;
  options.kernels = source.kernels;
  options.dtype = source.dtype;
  options.reading.num_loops =
      static_cast<int>(std::min<std::int64_t>(source.num_loops, INT_MAX));
  return stepd::LoadPolicy(source.path, options);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("stepd serves reinforcement-learning policies", "stepd");
  app.set_version_flag("--version", stepd::kVersion);
  app.require_subcommand(1);

  int exit_code = stepd::kExitOk;
  stepd::AddInspectCommand(&app, Load, &exit_code);
  stepd::AddServeCommand(&app, Load, &exit_code);
  stepd::AddVerifyCommand(&app, Load, &exit_code);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // --help and --version come this way too, with code 0.
    return app.exit(error) == 0 ? stepd::kExitOk : stepd::kExitBadInput;
  }
  return exit_code;
}
