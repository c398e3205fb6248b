// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The recorded cases, and one of them through the engine that serves.

#ifndef STEPD_TESTS_SERVER_VERIFY_GOLDEN_CASES_H_
#define STEPD_TESTS_SERVER_VERIFY_GOLDEN_CASES_H_

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "model/loader.h"
#include "server/engine/engine.h"
#include "server/engine/observer.h"
#include "server/verify/recorded_case.h"
#include "server/verify/verify.h"

namespace stepd {

constexpr char kGolden[] = "tests/golden/";

// family/case
inline std::vector<std::string> GoldenCases() {
  std::vector<std::string> cases;
  for (const char* family : {"mouse_v03", "mouse_v1", "open_mythos",
                             "kempner_forge", "noether_untied", "puzzletron"}) {
    const std::filesystem::path folder = std::string(kGolden) + family;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      if (!entry.is_directory()) continue;
      cases.push_back(std::string(family) + "/" +
                      entry.path().filename().string());
    }
  }
  std::sort(cases.begin(), cases.end());
  return cases;
}

// Errors: those of LoadPolicy(), ReadRecordedCase(), Engine and Verify()
inline absl::StatusOr<VerifyReport> VerifyGoldenCase(
    const std::string& name, const LoadOptions& options) {
  const std::string directory = kGolden + name;
  auto policy = LoadPolicy(directory + "/checkpoint", options);
  if (!policy.ok()) return policy.status();
  const auto recorded = ReadRecordedCase(directory, (*policy)->spec());
  if (!recorded.ok()) return recorded.status();
  NullObserver observer;
  EngineOptions engine_options;
  engine_options.cache_bytes = 64 << 20;
  engine_options.context = recorded->context.value_or(engine_options.context);
  auto engine = Engine::Create(*std::move(policy), engine_options, &observer);
  if (!engine.ok()) return engine.status();
  return Verify(*recorded, engine->get());
}

}  // namespace stepd

#endif  // STEPD_TESTS_SERVER_VERIFY_GOLDEN_CASES_H_
