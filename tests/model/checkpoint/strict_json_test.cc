// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/strict_json.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace stepd::checkpoint {
namespace {

using ::testing::HasSubstr;

std::string ErrorOf(absl::string_view text) {
  return std::string(ParseStrictJson(text).status().message());
}

TEST(StrictJson, ReadsEveryKindOfValue) {
  const auto json = ParseStrictJson(
      R"( {"a": [1, -2, 2.5, true, null, "x"], "b": {"c": {}, "d": []}} )");

  ASSERT_TRUE(json.ok()) << json.status();
  EXPECT_EQ(json->dump(),
            R"({"a":[1,-2,2.5,true,null,"x"],"b":{"c":{},"d":[]}})");
}

TEST(StrictJson, RefusesAKeyTwice) {
  EXPECT_THAT(ErrorOf(R"({"a": {"b": 1, "c": 2, "b": 3}})"),
              HasSubstr("key 'b' is there twice"));
}

TEST(StrictJson, AllowsAKeyAgainInAnotherObject) {
  EXPECT_TRUE(ParseStrictJson(R"({"a": {"a": 1}, "b": {"a": 1}})").ok());
}

TEST(StrictJson, RefusesDeepNesting) {
  const std::string deep = R"({"a": )" + std::string(100000, '[');

  EXPECT_THAT(ErrorOf(deep), HasSubstr("nested too deeply"));
}

TEST(StrictJson, RefusesWhatIsNoObject) {
  EXPECT_THAT(ErrorOf("[1]"), HasSubstr("is not a JSON object"));
  EXPECT_THAT(ErrorOf("3"), HasSubstr("is not a JSON object"));
}

TEST(StrictJson, SaysWhereItIsNotJson) {
  EXPECT_THAT(ErrorOf(""), HasSubstr("is not JSON at byte"));
  EXPECT_THAT(ErrorOf("{} x"), HasSubstr("is not JSON at byte 4"));
  EXPECT_THAT(ErrorOf(R"({"a": NaN})"), HasSubstr("is not JSON at byte"));
  EXPECT_THAT(ErrorOf(R"({"a": 1e999})"), HasSubstr("is not JSON at byte"));
  EXPECT_THAT(ErrorOf("{\"\xc3\x28\": 1}"), HasSubstr("is not JSON at byte"));
}

}  // namespace
}  // namespace stepd::checkpoint
