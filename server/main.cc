// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The command line. Only this file links LibTorch.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <climits>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "model/loader.h"
#include "server/commands/command.h"
#include "server/commands/inspect.h"
#include "server/commands/serve.h"
#include "server/commands/sessions.h"
#include "server/commands/verify.h"
#include "server/observe/version.h"
#include "server/registry/version_source.h"

namespace {

using stepd::checkpoint::Checkpoint;
using stepd::checkpoint::MappedFile;
using stepd::checkpoint::TensorSet;

stepd::LoadOptions OptionsOf(const stepd::PolicySource& source) {
  stepd::LoadOptions options;
  options.device = source.device;
  options.kernels = source.kernels;
  options.dtype = source.dtype;
  options.is_deterministic = source.is_deterministic;
  options.num_companions = source.num_companions;
  options.reading.num_loops =
      static_cast<int>(std::min<std::int64_t>(source.num_loops, INT_MAX));
  return options;
}

absl::StatusOr<std::unique_ptr<stepd::Policy>> Load(
    const stepd::PolicySource& source) {
  return stepd::LoadPolicy(source.path, OptionsOf(source));
}

class CheckpointSource : public stepd::VersionSource {
 public:
  CheckpointSource(std::shared_ptr<const Checkpoint> checkpoint,
                   stepd::LoadOptions options)
      : checkpoint_(std::move(checkpoint)), options_(std::move(options)) {}

  absl::StatusOr<std::shared_ptr<const stepd::Policy>> Load() const override {
    return stepd::LoadPolicy(*checkpoint_, options_);
  }

  absl::StatusOr<std::shared_ptr<const VersionSource>> WithTensors(
      int fd, const std::string& name, bool is_partial) const override {
    const auto file = MappedFile::OfDescriptor(fd, name);
    if (!file.ok()) return file.status();
    auto checkpoint = checkpoint_->WithTensors(
        *file, is_partial ? TensorSet::kSome : TensorSet::kAll);
    if (!checkpoint.ok()) return checkpoint.status();
    return std::make_shared<CheckpointSource>(*std::move(checkpoint), options_);
  }

 private:
  const std::shared_ptr<const Checkpoint> checkpoint_;
  const stepd::LoadOptions options_;
};

// What is served must be finite: one NaN would be in every answer.
absl::StatusOr<std::shared_ptr<const stepd::VersionSource>> Open(
    const stepd::PolicySource& source) {
  stepd::LoadOptions options = OptionsOf(source);
  options.reading.non_finite = stepd::checkpoint::NonFiniteWeights::kRefuse;
  auto checkpoint = Checkpoint::Open(source.path, options.reading);
  if (!checkpoint.ok()) return checkpoint.status();
  return std::make_shared<CheckpointSource>(*std::move(checkpoint),
                                            std::move(options));
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("stepd serves reinforcement-learning policies", "stepd");
  app.set_version_flag("--version", stepd::kVersion);
  app.require_subcommand(1);

  int exit_code = stepd::kExitOk;
  stepd::AddInspectCommand(&app, Load, &exit_code);
  stepd::AddServeCommand(&app, Open, &exit_code);
  stepd::AddSessionsCommand(&app, &exit_code);
  stepd::AddVerifyCommand(&app, Load, &exit_code);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // --help and --version come this way too, with code 0.
    return app.exit(error) == 0 ? stepd::kExitOk : stepd::kExitBadInput;
  }
  return exit_code;
}
