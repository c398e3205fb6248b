// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/commands/inspect.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "server/commands/inspection.h"

namespace stepd {
namespace {

struct InspectOptions {
  PolicySource source;
  bool is_json = false;
};

void Print(const nlohmann::json& answer) {
  std::printf("%s\n", answer.dump(2).c_str());
}

int Refuse(const absl::Status& status, bool is_json) {
  if (!is_json) {
    return Fail(absl::Status(status.code(),
                             absl::StrCat("refused: ", status.message())),
                kExitBadInput);
  }
  Print({{"refused", std::string(status.message())}});
  return kExitBadInput;
}

int RunInspect(const InspectOptions& options, const PolicyLoader& load_policy) {
  const absl::StatusOr<std::unique_ptr<Policy>> policy =
      load_policy(options.source);
  if (!policy.ok()) return Refuse(policy.status(), options.is_json);
  const PolicySpec& spec = (*policy)->spec();
  if (options.is_json) {
    Print(InspectionJson(spec));
  } else {
    std::printf("%s", FormatInspection(spec).c_str());
  }
  return kExitOk;
}

}  // namespace

void AddInspectCommand(CLI::App* app, PolicyLoader load_policy,
                       int* exit_code) {
  auto options = std::make_shared<InspectOptions>();
  CLI::App* inspect = app->add_subcommand(
      "inspect", "Show what a checkpoint is and costs, or why it is refused");
  inspect->add_option("checkpoint", options->source.path, "Its directory")
      ->required();
  inspect
      ->add_option("--dtype,--model.dtype", options->source.dtype,
                   "float32 | bfloat16: of the large matrices")
      ->capture_default_str();
  inspect
      ->add_option("--model.n_loops", options->source.num_loops,
                   "How often a looped stage runs; 0: as the checkpoint says")
      ->check(CLI::NonNegativeNumber);
  inspect->add_flag("--json", options->is_json, "Print JSON");
  inspect->callback([options, load_policy = std::move(load_policy), exit_code] {
    *exit_code = RunInspect(*options, load_policy);
  });
}

}  // namespace stepd
