// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// An executor whose weights change: fake policies that differ in their weights
// alone, version n having weights n.

#ifndef STEPD_TESTS_SERVER_ENGINE_VERSIONS_FIXTURE_H_
#define STEPD_TESTS_SERVER_ENGINE_VERSIONS_FIXTURE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/executor.h"
#include "server/engine/served_version.h"
#include "tests/fakes/fake_policy.h"

namespace stepd {

// Every version that was ever offered, whoever runs it.
class FakeVersions {
 public:
  FakeVersions(const FakePolicyOptions& options, std::int32_t num_blocks)
      : options_(options) {
    runner_options_.num_blocks = num_blocks;
  }
  ~FakeVersions() {
    for (const auto& [number, policy] : policies_) {
      EXPECT_THAT(policy->violations(), testing::IsEmpty()) << number;
    }
  }
  FakeVersions(const FakeVersions&) = delete;
  FakeVersions& operator=(const FakeVersions&) = delete;

  // Makes the version, if there is none of this number.
  std::shared_ptr<ServedVersion> Get(std::uint64_t number) {
    std::shared_ptr<ServedVersion>& served = served_[number];
    if (served == nullptr) {
      served = std::make_shared<ServedVersion>(number, Policy(number));
    }
    return served;
  }
  std::shared_ptr<FakePolicy> Policy(std::uint64_t number) {
    std::shared_ptr<FakePolicy>& policy = policies_[number];
    if (policy == nullptr) {
      FakePolicyOptions options = options_;
      options.weights = number;
      policy = std::make_shared<FakePolicy>(options);
    }
    return policy;
  }
  // All runners share the KV memory of the first one.
  std::unique_ptr<PolicyRunner> MakeRunner(std::uint64_t number) {
    auto runner = *Policy(number)->CreateRunner(runner_options_);
    runner_options_.kv_memory = runner->kv_memory();
    return runner;
  }

  void RollOut(Rollout rollout, const std::vector<std::uint64_t>& numbers,
               Executor* executor) {
    std::vector<std::unique_ptr<PolicyRunner>> runners;
    for (const std::uint64_t number : numbers) {
      rollout.versions.push_back(Get(number));
      runners.push_back(MakeRunner(number));
    }
    executor->RollOut(std::make_shared<const Rollout>(std::move(rollout)),
                      std::move(runners));
  }
  void RollOut(std::uint64_t stable, Executor* executor) {
    Rollout rollout;
    rollout.stable = stable;
    RollOut(std::move(rollout), {stable}, executor);
  }

 private:
  const FakePolicyOptions options_;
  RunnerOptions runner_options_;
  std::map<std::uint64_t, std::shared_ptr<FakePolicy>> policies_;
  std::map<std::uint64_t, std::shared_ptr<ServedVersion>> served_;
};

}  // namespace stepd

#endif  // STEPD_TESTS_SERVER_ENGINE_VERSIONS_FIXTURE_H_
