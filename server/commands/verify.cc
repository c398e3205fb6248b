// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/commands/verify.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "nlohmann/json.hpp"
#include "server/engine/engine.h"
#include "server/engine/observer.h"
#include "server/verify/recorded_case.h"
#include "server/verify/verify.h"

namespace stepd {
namespace {

using nlohmann::json;

constexpr char kFloat32[] = "float32";

struct VerifyOptions {
  std::string case_directory;
  double tolerance = 1e-4;
  PolicySource source;  // its path is the case's checkpoint
  EngineOptions engine;
};

void Print(const json& line) { std::printf("%s\n", line.dump().c_str()); }

// Rounded weights answer other numbers: how far off is for people to judge.
const char* VerdictOf(const VerifyOptions& options,
                      const VerifyReport& report) {
  if (options.source.dtype != kFloat32) return "measured";
  return report.Passes(options.tolerance) ? "pass" : "fail";
}

void PrintReport(const std::string& name, const VerifyOptions& options,
                 const VerifyReport& report) {
  for (const OutputComparison& output : report.outputs) {
    Print({{"case", name},
           {"output", output.output},
           {"max_error", output.max_error},
           {"values", output.num_values}});
  }
  Print({{"case", name},
         {"verdict", VerdictOf(options, report)},
         {"dtype", options.source.dtype},
         {"max_error", report.max_error()},
         {"tolerance", options.tolerance},
         {"steps", report.num_steps},
         {"greedy_actions", report.num_actions},
         {"greedy_actions_agree", report.num_agreeing_actions}});
}

// An optional case may be refused; only its episode file says that it is one.
bool IsOptional(const std::string& directory) {
  const absl::StatusOr<RecordedCase> recorded =
      ReadRecordedCase(directory, PolicySpec());
  return recorded.ok() && recorded->is_optional;
}

int RunVerify(const VerifyOptions& options, const PolicyLoader& load_policy) {
  PolicySource source = options.source;
  source.path = std::filesystem::path(options.case_directory) / "checkpoint";
  const std::string name =
      std::filesystem::path(options.case_directory).filename();

  absl::StatusOr<std::unique_ptr<Policy>> policy = load_policy(source);
  if (!policy.ok()) {
    if (!IsOptional(options.case_directory)) {
      return Fail(policy.status(), kExitBadInput);
    }
    Print({{"case", name},
           {"verdict", "refused"},
           {"reason", std::string(policy.status().message())}});
    return kExitOk;
  }
  const absl::StatusOr<RecordedCase> recorded =
      ReadRecordedCase(options.case_directory, (*policy)->spec());
  if (!recorded.ok()) return Fail(recorded.status(), kExitBadInput);

  EngineOptions engine_options = options.engine;
  if (recorded->context.has_value()) {
    engine_options.context = *recorded->context;
  }
  NullObserver observer;
  absl::StatusOr<std::unique_ptr<Engine>> engine =
      Engine::Create(*std::move(policy), engine_options, &observer);
  if (!engine.ok()) return Fail(engine.status(), kExitBadInput);
  const absl::StatusOr<VerifyReport> report = Verify(*recorded, engine->get());
  if (!report.ok()) return Fail(report.status(), kExitFailed);
  PrintReport(name, options, *report);
  const bool is_judged = options.source.dtype == kFloat32;
  return !is_judged || report->Passes(options.tolerance) ? kExitOk
                                                         : kExitFailed;
}

}  // namespace

void AddVerifyCommand(CLI::App* app, PolicyLoader load_policy, int* exit_code) {
  auto options = std::make_shared<VerifyOptions>();
  CLI::App* verify = app->add_subcommand(
      "verify", "Compare a recorded case with what this daemon computes");
  verify->add_option("case", options->case_directory, "Folder of the case")
      ->required();
  verify
      ->add_option("--tolerance", options->tolerance,
                   "Largest |got - want| / max(1, |want|)")
      ->capture_default_str();
  verify
      ->add_option("--model.device", options->source.device,
                   "cpu | cuda | cuda:N | auto")
      ->capture_default_str();
  verify
      ->add_option("--model.kernels", options->source.kernels,
                   "auto | native | reference")
      ->capture_default_str();
  verify
      ->add_option("--model.n_loops", options->source.num_loops,
                   "How often a looped stage runs; 0: as the checkpoint says")
      ->check(CLI::NonNegativeNumber);
  verify
      ->add_option("--dtype,--model.dtype", options->source.dtype,
                   "float32 | bfloat16; the latter is measured, not judged")
      ->capture_default_str();
  verify
      ->add_option("--executors.count", options->engine.num_executors,
                   "Executors")
      ->capture_default_str();
  verify->callback([options, load_policy = std::move(load_policy), exit_code] {
    *exit_code = RunVerify(*options, load_policy);
  });
}

}  // namespace stepd
