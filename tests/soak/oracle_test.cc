// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// A short run of the oracle of every family under every KV policy. The long one
// is tools/soak.

#include "tests/soak/oracle.h"

#include <string>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace stepd {
namespace {

class OracleTest
    : public testing::TestWithParam<std::tuple<std::string, unsigned>> {};

TEST_P(OracleTest, EveryReplyIsThatOfTheActorAlone) {
  OracleOptions options;
  std::tie(options.family, options.seed) = GetParam();
  options.num_actors = 16;
  options.operations_per_actor = 300;
  Oracle oracle(options);

  const absl::Status status = oracle.Run();

  EXPECT_TRUE(status.ok()) << status;
  for (const char* what : {"steps", "rebuilt", "repeated", "forks", "imports",
                           "rollouts", "CANCELLED", "STEP_INDEX"}) {
    EXPECT_GT(oracle.counts().count(what), 0) << what;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, OracleTest,
                         testing::Combine(testing::ValuesIn(FamilyNames()),
                                          testing::Range(0U, 6U)),
                         [](const auto& test) {
                           return absl::StrCat(std::get<0>(test.param),
                                               std::get<1>(test.param));
                         });

}  // namespace
}  // namespace stepd
