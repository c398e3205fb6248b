// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/zip_archive.h"

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/model/checkpoint/weights_files.h"

namespace stepd::checkpoint {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

const std::vector<ZipMember> kTwoMembers = {{"r/a", "one"}, {"r/b", "three"}};

TEST(ZipArchive, ReadsStoredMembers) {
  const std::string zip = MakeZip(kTwoMembers);

  const auto members = ReadZipArchive(zip);

  ASSERT_TRUE(members.ok()) << members.status();
  EXPECT_THAT(*members, ElementsAre(Pair("r/a", "one"), Pair("r/b", "three")));
}

TEST(ZipArchive, RefusesTheFileCutAnywhere) {
  const std::string zip = MakeZip(kTwoMembers);

  for (std::size_t size = 0; size < zip.size(); ++size) {
    EXPECT_FALSE(ReadZipArchive(zip.substr(0, size)).ok())
        << "cut after " << size << " bytes";
  }
}

// Whether a ZIP file is refused, or its members lie within it.
bool IsRefusedOrInBounds(const std::string& zip) {
  const auto members = ReadZipArchive(zip);
  if (!members.ok()) return true;
  return std::all_of(members->begin(), members->end(), [&](const auto& member) {
    const absl::string_view data = member.second;
    return data.data() >= zip.data() &&
           data.data() + data.size() <= zip.data() + zip.size();
  });
}

TEST(ZipArchive, SurvivesEveryDamagedByte) {
  const std::string zip = MakeZip(kTwoMembers);

  for (std::size_t i = 0; i < zip.size(); ++i) {
    for (char byte : {'\x00', '\x7f', '\xff'}) {
      std::string damaged = zip;
      damaged[i] = byte;
      EXPECT_TRUE(IsRefusedOrInBounds(damaged)) << "byte " << i;
    }
  }
}

struct BadArchive {
  const char* name;
  std::function<std::string()> make;
  const char* error;
};

// Overwrites bytes at `offset` from the beginning of the last `marker`.
std::string Patch(std::string zip, const std::string& marker,
                  std::size_t offset, const std::string& bytes) {
  return zip.replace(zip.rfind(marker) + offset, bytes.size(), bytes);
}

const std::string kLocal = "PK\x03\x04";
const std::string kCentral = "PK\x01\x02";
const std::string kEnd = "PK\x05\x06";

class BadZipArchive : public ::testing::TestWithParam<BadArchive> {};

TEST_P(BadZipArchive, IsRefused) {
  const std::string zip = GetParam().make();

  const auto members = ReadZipArchive(zip);

  ASSERT_EQ(members.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(members.status().message(), HasSubstr(GetParam().error));
}

INSTANTIATE_TEST_SUITE_P(
    Archives, BadZipArchive,
    ::testing::ValuesIn(std::vector<BadArchive>{
        {"Compressed",
         [] {
           return MakeZip({{"r/a", "x", 8}});
         },
         "'r/a' is compressed"},
        {"Encrypted",
         [] {
           return MakeZip({{"r/a", "x", 0, 1}});
         },
         "'r/a' is encrypted"},
        {"UnknownFlag",
         [] {
           return MakeZip({{"r/a", "x", 0, 0x40}});
         },
         "'r/a' has flags"},
        {"NameTwice",
         [] {
           return MakeZip({{"r/a", "x"}, {"r/a", "y"}});
         },
         "'r/a' is there twice"},
        {"TrailingBytes", [] { return MakeZip(kTwoMembers) + "x"; },
         "does not end with a ZIP directory"},
        {"Comment",
         [] { return Patch(MakeZip(kTwoMembers), kEnd, 20, "\x01"); },
         "does not end with a ZIP directory"},
        {"Split", [] { return Patch(MakeZip(kTwoMembers), kEnd, 4, "\x01"); },
         "split"},
        {"DirectoryOutOfBounds",
         [] { return Patch(MakeZip(kTwoMembers), kEnd, 19, "\x7f"); },
         "directory is out of bounds"},
        {"Zip64",
         [] {
           return Patch(MakeZip(kTwoMembers), kEnd, 16, "\xff\xff\xff\xff");
         },
         "over 4 GiB"},
        {"FewerMembersCounted",
         [] {
           return Patch(MakeZip(kTwoMembers), kEnd, 8, {1, 0, 1, 0});
         },
         "more members than"},
        {"MoreMembersCounted",
         [] {
           return Patch(MakeZip(kTwoMembers), kEnd, 8, {3, 0, 3, 0});
         },
         "ends within the ZIP directory"},
        {"Overlapping",
         [] {
           return Patch(MakeZip({{"r/a", "one"}, {"r/a", "one"}}), kCentral, 42,
                        std::string(4, '\0'));
         },
         "overlaps"},
        {"HeadersDisagree",
         [] { return Patch(MakeZip(kTwoMembers), kLocal, 30, "z"); },
         "'r/b' has two headers that disagree"},
        {"MemberTooBig",
         [] {
           return Patch(MakeZip(kTwoMembers), kCentral, 20,
                        std::string("\0\1\0\0\0\1\0\0", 8));
         },
         "'r/b' runs into the ZIP directory"},
        {"MemberBeyondDirectory",
         [] { return Patch(MakeZip(kTwoMembers), kCentral, 44, "\x7f"); },
         "'r/b' begins behind the ZIP directory"},
    }),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace stepd::checkpoint
