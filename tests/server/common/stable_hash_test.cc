// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/common/stable_hash.h"

#include <array>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace stepd {
namespace {

// FNV-1a of "" is cbf29ce484222325, of "a" af63dc4c8601ec8c, of "foobar"
// 85944171f73967e8 (its published vectors); these are those, finalised. A
// change would move every actor and change every draw.
TEST(StableHash, NeverChanges) {
  EXPECT_EQ(StableHash(""), 0xf52a15e9a9b5e89bU);
  EXPECT_EQ(StableHash("a"), 0x02c0bdbf481420f8U);
  EXPECT_EQ(StableHash("foobar"), 0x404da9e3b74078c2U);
  EXPECT_EQ(StableHash("\xff"), StableHash(std::string(1, '\xff')));
}

TEST(StableHash, SpreadsNumberedNamesEvenly) {
  std::array<int, 4> counts{};
  for (int i = 0; i < 4000; ++i) ++counts[StableHash(absl::StrCat("a", i)) % 4];

  for (int count : counts) EXPECT_NEAR(count, 1000, 100);
}

}  // namespace
}  // namespace stepd
