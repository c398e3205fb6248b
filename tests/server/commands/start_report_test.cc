// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/commands/start_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace stepd {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

PolicySpec SmallSpec() {
  PolicySpec spec;
  spec.summary = "a small policy";
  spec.fields = {FieldSpec{"index", DType::kInt64, {}, 0, 9, true},
                 FieldSpec{"image", DType::kFloat32, {-1, 4}, {}, {}, false}};
  spec.action_head = "q";
  spec.num_actions = 6;
  spec.num_parameters = 1234;
  spec.weight_bytes = 4936;
  spec.device = "cpu";
  spec.dtype = "float32";
  spec.kernels = "native, avx2";
  spec.tokens_per_block = 16;
  spec.kv_bytes_per_token = 64;  // blocks of 1 KiB
  spec.max_tokens_per_step = 3;
  return spec;
}

TEST(StartReport, CountsFullSessionsInWholeBlocks) {
  const PolicySpec spec = SmallSpec();
  EngineOptions engine;
  engine.cache_bytes = 100 << 10;
  engine.context.max_steps = 6;  // 18 tokens: 2 blocks

  EXPECT_EQ(NumFullSessions(spec, engine), 50);
}

TEST(StartReport, CountsNoMoreTokensThanThePolicyCanTellApart) {
  PolicySpec spec = SmallSpec();
  spec.max_tokens = 16;
  EngineOptions engine;
  engine.cache_bytes = 100 << 10;
  engine.context.max_steps = 6;

  EXPECT_EQ(NumFullSessions(spec, engine), 100);
}

TEST(StartReport, CountsWhatASessionBeginsWith) {
  PolicySpec spec = SmallSpec();
  spec.num_prefix_tokens = 15;  // with 18 of the steps: 3 blocks
  EngineOptions engine;
  engine.cache_bytes = 90 << 10;
  engine.context.max_steps = 6;

  EXPECT_EQ(NumFullSessions(spec, engine), 30);
}

TEST(StartReport, TellsWhatASessionIsGivenAndThatRecomputingIsSlow) {
  PolicySpec spec = SmallSpec();
  spec.session_fields = {
      FieldSpec{"scene", DType::kFloat32, {5, 4}, {}, {}, true}};
  spec.recomputes = true;
  StartReport report;
  report.spec = &spec;
  report.grpc_address = "unix:/run/stepd.sock";

  const std::string block = FormatStartReport(report);

  EXPECT_THAT(block, HasSubstr("scene float32[5, 4]"));
  EXPECT_THAT(block, HasSubstr("slow"));
}

TEST(StartReport, KnowsPoliciesWithoutACache) {
  PolicySpec spec = SmallSpec();
  spec.kv_bytes_per_token = 0;

  EXPECT_EQ(NumFullSessions(spec, {}), -1);
}

TEST(StartReport, CountsTokensWhereStepsAreOfAnyLength) {
  PolicySpec spec = SmallSpec();
  spec.max_tokens_per_step = -1;
  spec.fields[0].value_names = {"obs", "reward"};
  spec.action_head.clear();
  spec.num_actions = 0;
  StartReport report;
  report.spec = &spec;
  report.engine.cache_bytes = 100 << 10;

  const std::string block = FormatStartReport(report);

  EXPECT_EQ(NumFullSessions(spec, report.engine), -1);
  EXPECT_THAT(block, HasSubstr("100.0 KiB = 1600 tokens, steps are of any"));
  EXPECT_THAT(block, HasSubstr("1 or more token(s) per step"));
  EXPECT_THAT(block, HasSubstr("index int64 (obs | reward), image?"));
  EXPECT_THAT(block, HasSubstr("-> outputs, no actions"));

  spec.max_tokens = 16;  // a session is full with one block
  EXPECT_EQ(NumFullSessions(spec, report.engine), 100);
}

TEST(StartReport, SurvivesALimitlessSession) {
  EngineOptions engine;
  engine.context.max_steps = INT64_MAX;

  EXPECT_EQ(NumFullSessions(SmallSpec(), engine), 0);
}

TEST(StartReport, TellsWhatIsServedAndWhere) {
  const PolicySpec spec = SmallSpec();
  StartReport report;
  report.name = "cartpole";
  report.version = 2;
  report.path = "/models/cartpole";
  report.spec = &spec;
  report.engine.cache_bytes = 100 << 10;
  report.engine.context.max_steps = 6;
  report.engine.num_executors = 4;
  report.grpc_address = "127.0.0.1:0";
  report.grpc_port = 4711;
  report.http_address = "127.0.0.1:0";
  report.http_port = 4712;

  const std::string block = FormatStartReport(report);

  EXPECT_THAT(block, HasSubstr("cartpole version 2: a small policy"));
  EXPECT_THAT(block, HasSubstr("/models/cartpole"));
  EXPECT_THAT(block, HasSubstr("1234 (4.8 KiB)"));
  EXPECT_THAT(block, HasSubstr("cpu, float32, 4 executor(s)"));
  EXPECT_THAT(block, HasSubstr("6 steps, then CONTEXT_FULL"));
  EXPECT_THAT(block, HasSubstr("native, avx2"));
  EXPECT_THAT(block, HasSubstr("index int64, image? float32[any, 4]"));
  EXPECT_THAT(block, HasSubstr("6 actions by q"));
  EXPECT_THAT(block, HasSubstr("64 B per token, 1 to 3 token(s) per step"));
  EXPECT_THAT(block, HasSubstr("100.0 KiB = 50 full sessions of 6 steps"));
  EXPECT_THAT(block, HasSubstr("127.0.0.1:4711 (no TLS)"));
  EXPECT_THAT(block, HasSubstr("127.0.0.1:4712 /metrics"));
}

TEST(StartReport, LeavesOutWhatIsNotThere) {
  const PolicySpec spec = SmallSpec();
  StartReport report;
  report.spec = &spec;
  report.grpc_address = "unix:/run/stepd.sock";
  report.has_tls = true;

  const std::string block = FormatStartReport(report);

  EXPECT_THAT(block, HasSubstr("unix:/run/stepd.sock (TLS)"));
  EXPECT_THAT(block, Not(HasSubstr("/metrics")));
}

}  // namespace
}  // namespace stepd
