// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/byte_reader.h"

#include <cstdint>
#include <limits>
#include <string>

#include "gtest/gtest.h"

namespace stepd::checkpoint {
namespace {

TEST(ByteReader, ReadsLittleEndianValuesOneAfterAnother) {
  ByteReader reader(
      "\x01\x02\xff\xff\xff\xff"
      "abline\nrest");
  std::uint16_t number = 0;
  std::int32_t negative = 0;
  absl::string_view bytes;
  absl::string_view line;

  ASSERT_TRUE(reader.Read(&number));
  ASSERT_TRUE(reader.Read(&negative));
  ASSERT_TRUE(reader.ReadBytes(2, &bytes));
  ASSERT_TRUE(reader.ReadLine(&line));

  EXPECT_EQ(number, 0x0201);
  EXPECT_EQ(negative, -1);
  EXPECT_EQ(bytes, "ab");
  EXPECT_EQ(line, "line");
  EXPECT_EQ(reader.position(), 13);
  EXPECT_EQ(reader.remaining(), 4);
}

TEST(ByteReader, MovesNothingWhenTooFewBytesAreLeft) {
  ByteReader reader("abc");
  std::uint32_t number = 7;
  absl::string_view bytes;

  EXPECT_FALSE(reader.Read(&number));
  EXPECT_FALSE(reader.ReadBytes(4, &bytes));
  EXPECT_FALSE(
      reader.ReadBytes(std::numeric_limits<std::size_t>::max(), &bytes));
  EXPECT_FALSE(reader.ReadLine(&bytes));

  EXPECT_EQ(number, 7);
  EXPECT_EQ(reader.position(), 0);
}

}  // namespace
}  // namespace stepd::checkpoint
