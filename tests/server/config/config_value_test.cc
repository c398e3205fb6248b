// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/config/config_value.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>

namespace stepd {
namespace {

using ::testing::HasSubstr;

TEST(ConfigValue, ReadsBooleans) {
  EXPECT_EQ(*ParseBool("true"), true);
  EXPECT_EQ(*ParseBool("false"), false);
  for (const char* text : {"", "True", "yes", "1", "true "}) {
    EXPECT_FALSE(ParseBool(text).ok()) << text;
  }
}

TEST(ConfigValue, ReadsIntegers) {
  EXPECT_EQ(*ParseInteger("1", 1), 1);
  EXPECT_EQ(*ParseInteger("9223372036854775807", 1), INT64_MAX);
  for (const char* text :
       {"", "0", "-1", "1.5", "1k", "0x10", "9223372036854775808"}) {
    EXPECT_FALSE(ParseInteger(text, 1).ok()) << text;
  }
}

TEST(ConfigValue, ReadsDurations) {
  EXPECT_EQ(*ParseDuration("0"), absl::ZeroDuration());
  EXPECT_EQ(*ParseDuration("500us"), absl::Microseconds(500));
  EXPECT_EQ(*ParseDuration("2ms"), absl::Milliseconds(2));
  EXPECT_EQ(*ParseDuration("1.5s"), absl::Milliseconds(1500));
  EXPECT_EQ(*ParseDuration("10m"), absl::Minutes(10));
  EXPECT_EQ(*ParseDuration("24h"), absl::Hours(24));
  EXPECT_EQ(*ParseDuration("none"), absl::InfiniteDuration());
  for (const char* text :
       {"", "5", "876001h", "-1s", "+1s", "1 s", "inf", "1d", "s"}) {
    EXPECT_FALSE(ParseDuration(text).ok()) << text;
  }
}

TEST(ConfigValue, ReadsSizes) {
  EXPECT_EQ(*ParseSize("4096"), 4096);
  EXPECT_EQ(*ParseSize("512KiB"), 512 << 10);
  EXPECT_EQ(*ParseSize("16MiB"), 16 << 20);
  EXPECT_EQ(*ParseSize("2GiB"), std::int64_t{2} << 30);
  EXPECT_EQ(*ParseSize("1TiB"), std::int64_t{1} << 40);
  for (const char* text : {"", "0", "-1", "1.5GiB", "2GB", "2G", "GiB", "1 GiB",
                           "1KiBMiB", "8388608TiB", "99999999999999999999"}) {
    EXPECT_FALSE(ParseSize(text).ok()) << text;
  }
}

TEST(ConfigValue, SaysWhatIsWantedAndWhatWasGot) {
  EXPECT_THAT(std::string(ParseSize("2GB").status().message()),
              HasSubstr("2GiB, got \"2GB\""));
}

TEST(ConfigValue, WritesSizesForPeople) {
  EXPECT_EQ(FormatSize(0), "0 B");
  EXPECT_EQ(FormatSize(1023), "1023 B");
  EXPECT_EQ(FormatSize(1536), "1.5 KiB");
  EXPECT_EQ(FormatSize(std::int64_t{2} << 30), "2.0 GiB");
  EXPECT_EQ(FormatSize(std::int64_t{5000} << 40), "5000.0 TiB");
}

}  // namespace
}  // namespace stepd
