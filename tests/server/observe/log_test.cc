// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/observe/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

namespace stepd {
namespace {

using ::testing::HasSubstr;
using ::testing::internal::CaptureStderr;
using ::testing::internal::GetCapturedStderr;

TEST(Log, WritesFieldsAfterTheMessage) {
  EXPECT_EQ(FormatLogLine(LogFormat::kText, "drained", {{"left", "3"}}),
            "drained left=3");
  EXPECT_EQ(FormatLogLine(LogFormat::kText, "failed", {{"error", "no file"}}),
            "failed error=\"no file\"");
}

TEST(Log, KeepsALineInOneLine) {
  const std::string line =
      FormatLogLine(LogFormat::kText, "failed", {{"error", "a\nb\"c=d"}});

  EXPECT_EQ(line, "failed error=\"a\\nb\\\"c=d\"");
}

TEST(Log, WritesJsonLines) {
  SetUpLog(LogLevel::kInfo, LogFormat::kJson);
  CaptureStderr();

  Log(LogLevel::kWarning, "odd \"name\"", {{"error", "bad \xff byte\n"}});

  const nlohmann::json line = nlohmann::json::parse(GetCapturedStderr());
  EXPECT_EQ(line["message"], "odd \"name\"");
  EXPECT_EQ(line["level"], "warning");
  EXPECT_EQ(line["error"], "bad \xef\xbf\xbd byte\n");
  EXPECT_THAT(std::string(line["time"]), HasSubstr("T"));
}

TEST(Log, LeavesOutWhatIsBelowTheLevel) {
  SetUpLog(LogLevel::kWarning, LogFormat::kText);
  CaptureStderr();

  Log(LogLevel::kInfo, "quiet");
  Log(LogLevel::kError, "loud");

  const std::string text = GetCapturedStderr();
  EXPECT_EQ(text.find("quiet"), std::string::npos);
  EXPECT_THAT(text, HasSubstr("loud"));
}

TEST(Log, GivesEveryFailureAnIdOfItsOwn) {
  EXPECT_NE(NewErrorId(), NewErrorId());
}

}  // namespace
}  // namespace stepd
