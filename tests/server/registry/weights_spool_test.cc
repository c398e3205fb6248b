// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/registry/weights_spool.h"

#include <unistd.h>

#include <string>

#include "absl/strings/escaping.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/common/error.h"

namespace stepd {
namespace {

// Of "abc": FIPS 180-2, appendix B.1.
std::string AbcDigest() {
  return absl::HexStringToBytes(
      "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(WeightsSpoolTest, HasTheBytesInTheOrderInWhichTheyCame) {
  auto spool = WeightsSpool::Create(3, AbcDigest());
  ASSERT_TRUE(spool.ok()) << spool.status();
  EXPECT_TRUE((*spool)->Append("a").ok());
  EXPECT_TRUE((*spool)->Append("").ok());
  EXPECT_TRUE((*spool)->Append("bc").ok());
  EXPECT_TRUE((*spool)->Check().ok());
  std::string bytes(3, '\0');
  EXPECT_EQ(pread((*spool)->fd(), &bytes[0], 3, 0), 3);
  EXPECT_EQ(bytes, "abc");
}

TEST(WeightsSpoolTest, RefusesOtherBytes) {
  auto spool = WeightsSpool::Create(3, AbcDigest());
  EXPECT_TRUE((*spool)->Append("abd").ok());
  const absl::Status status = (*spool)->Check();
  EXPECT_EQ(ReasonOf(status), reason::kWeightsDigest);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("ba7816bf"));
}

TEST(WeightsSpoolTest, RefusesMoreBytesAndFewer) {
  auto spool = WeightsSpool::Create(3, AbcDigest());
  EXPECT_EQ(ReasonOf((*spool)->Append("abcd")), reason::kWeightsDigest);
  spool = WeightsSpool::Create(3, AbcDigest());
  EXPECT_TRUE((*spool)->Append("ab").ok());
  EXPECT_EQ(ReasonOf((*spool)->Check()), reason::kWeightsDigest);
}

TEST(WeightsSpoolTest, RefusesADigestOrASizeThatIsNone) {
  EXPECT_EQ(ReasonOf(WeightsSpool::Create(3, "abc").status()),
            reason::kWeightsDigest);
  EXPECT_EQ(ReasonOf(WeightsSpool::Create(0, AbcDigest()).status()),
            reason::kWeightsDigest);
}

}  // namespace
}  // namespace stepd
