// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Every recorded case on a GPU, in both precisions.

#include <cstdio>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "gtest/gtest.h"
#include "tests/model/support/gpu.h"
#include "tests/server/verify/golden_cases.h"

namespace stepd {
namespace {

constexpr double kTolerance = 1e-3;

class CudaGoldenTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    STEPD_REQUIRE_GPU();
    if (absl::EndsWith(GetParam(), "llama_dynamic_rope")) {
      GTEST_SKIP() << "no kernels serve this rope";
    }
  }
};

INSTANTIATE_TEST_SUITE_P(Recorded, CudaGoldenTest,
                         testing::ValuesIn(GoldenCases()),
                         [](const auto& info) {
                           return absl::StrReplaceAll(info.param, {{"/", "_"}});
                         });

TEST_P(CudaGoldenTest, AnswersWhatTheOriginalRecorded) {
  LoadOptions options;
  options.device = "cuda";

  const auto report = VerifyGoldenCase(GetParam(), options);

  ASSERT_TRUE(report.ok()) << report.status();
  for (const OutputComparison& output : report->outputs) {
    EXPECT_LE(output.max_error, kTolerance) << output.output;
    EXPECT_GT(output.num_values, 0) << output.output;
  }
  EXPECT_EQ(report->num_agreeing_actions, report->num_actions);
}

TEST_P(CudaGoldenTest, ReportsHowManyActionsAgreeInBFloat16) {
  LoadOptions options;
  options.device = "cuda";
  options.dtype = "bfloat16";

  const auto report = VerifyGoldenCase(GetParam(), options);

  ASSERT_TRUE(report.ok()) << report.status();
  std::printf("bfloat16: %s: %lld of %lld greedy actions agree\n",
              GetParam().c_str(),
              static_cast<long long>(report->num_agreeing_actions),
              static_cast<long long>(report->num_actions));
}

}  // namespace
}  // namespace stepd
