// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/config_reader.h"

#include <functional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace stepd::checkpoint {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

TEST(ConfigReader, ReadsEveryKindOfValue) {
  const json object = json::parse(
      R"({"i": 3, "n": 2, "b": true, "s": "x", "o": {"j": 4}, "z": null})");
  absl::Status error;
  ConfigReader reader(object, "f.json", &error);

  EXPECT_EQ(reader.RequireInt("i"), 3);
  EXPECT_EQ(reader.RequireNumber("n"), 2.0);
  EXPECT_TRUE(reader.RequireBool("b"));
  EXPECT_EQ(reader.RequireString("s"), "x");
  EXPECT_EQ(reader.RequireObject("o").RequireInt("j"), 4);
  EXPECT_EQ(reader.OptionalInt("z", 7), 7);
  reader.RefuseOtherKeys();
  EXPECT_TRUE(error.ok()) << error;
}

TEST(ConfigReader, GivesDefaultsForWhatIsAbsent) {
  const json object = json::object();
  absl::Status error;
  ConfigReader reader(object, "f.json", &error);

  EXPECT_EQ(reader.OptionalInt("i", 7), 7);
  EXPECT_EQ(reader.OptionalNumber("n", 0.5), 0.5);
  EXPECT_TRUE(reader.OptionalBool("b", true));
  EXPECT_EQ(reader.OptionalString("s", "d"), "d");
  EXPECT_FALSE(reader.OptionalObject("o").has_value());
  EXPECT_TRUE(error.ok()) << error;
}

TEST(ConfigReader, TellsNullFromAbsent) {
  const json object = json::parse(R"({"z": null})");
  absl::Status error;
  const ConfigReader reader(object, "f.json", &error);

  EXPECT_TRUE(reader.Contains("z"));
  EXPECT_FALSE(reader.Has("z"));
  EXPECT_FALSE(reader.Contains("y"));
}

TEST(ConfigReader, KeepsTheFirstError) {
  const json object = json::parse(R"({"a": "x", "b": "y"})");
  absl::Status error;
  ConfigReader reader(object, "f.json", &error);

  EXPECT_EQ(reader.RequireInt("b", {5, 9}), 5);
  EXPECT_EQ(reader.RequireInt("a"), 1);

  EXPECT_FALSE(reader.ok());
  EXPECT_THAT(error.message(), HasSubstr("f.json: b: "));
}

struct BadRead {
  const char* name;
  std::function<void(ConfigReader&)> read;
  const char* error;
};

class BadConfig : public ::testing::TestWithParam<BadRead> {};

TEST_P(BadConfig, NamesFileAndKey) {
  const json object = json::parse(
      R"({"float": 1.0, "huge": 18446744073709551615, "zero": 0, "null": null,
          "text": "abc", "outer": {"inner": {"odd": 1}}})");
  absl::Status error;
  ConfigReader reader(object, "f.json", &error);

  GetParam().read(reader);

  EXPECT_EQ(error.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(error.message(), GetParam().error);
}

INSTANTIATE_TEST_SUITE_P(
    Reads, BadConfig,
    ::testing::ValuesIn(std::vector<BadRead>{
        {"Missing", [](ConfigReader& r) { r.RequireInt("x"); },
         "f.json: x: is missing"},
        {"Null", [](ConfigReader& r) { r.RequireBool("null"); },
         "f.json: null: is null"},
        {"FloatForInt", [](ConfigReader& r) { r.RequireInt("float"); },
         "f.json: float: must be an integer of at least 1, not 1.0"},
        {"IntOverflow", [](ConfigReader& r) { r.OptionalInt("huge", 1); },
         "f.json: huge: must be an integer of at least 1, not "
         "18446744073709551615"},
        {"IntBelowRange", [](ConfigReader& r) { r.OptionalInt("zero", 1); },
         "f.json: zero: must be an integer of at least 1, not 0"},
        {"IntAboveRange",
         [](ConfigReader& r) {
           r.RequireInt("zero", {-9, -3});
         },
         "f.json: zero: must be an integer from -9 to -3, not 0"},
        {"TextForNumber", [](ConfigReader& r) { r.RequireNumber("text"); },
         "f.json: text: must be a number, not \"abc\""},
        {"NumberNotAbove",
         [](ConfigReader& r) { r.RequireNumber("zero", kPositive); },
         "f.json: zero: must be a number above 0, not 0"},
        {"NumberTooBig",
         [](ConfigReader& r) {
           r.RequireNumber("float", {0.0, 0.5});
         },
         "f.json: float: must be a number above 0 of at most 0.5, not 1.0"},
        {"IntForBool", [](ConfigReader& r) { r.OptionalBool("zero", true); },
         "f.json: zero: must be true or false, not 0"},
        {"IntForText", [](ConfigReader& r) { r.OptionalString("zero", ""); },
         "f.json: zero: must be a string, not 0"},
        {"IntForObject", [](ConfigReader& r) { r.OptionalObject("zero"); },
         "f.json: zero: must be an object, not 0"},
        {"UnknownKeyInside",
         [](ConfigReader& r) {
           r.RequireObject("outer").RequireObject("inner").RefuseOtherKeys();
         },
         "f.json: outer.inner.odd: is not a key that stepd knows"},
    }),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace stepd::checkpoint
