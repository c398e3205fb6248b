// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/mapped_file.h"

#include <sys/stat.h>

#include <filesystem>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/model/checkpoint/weights_files.h"

namespace stepd::checkpoint {
namespace {

using ::testing::HasSubstr;

TEST(MappedFile, ShowsTheBytesAlsoOfAFileThatWasRemoved) {
  const std::string path = WriteTestFile("f", "content");

  const auto file = MappedFile::Open(path);
  std::filesystem::remove(path);

  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->bytes(), "content");
  EXPECT_EQ((*file)->path(), path);
}

TEST(MappedFile, ShowsAnEmptyFile) {
  const auto file = MappedFile::Open(WriteTestFile("f", ""));

  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE((*file)->bytes().empty());
}

TEST(MappedFile, SaysThatAFileIsNotThere) {
  const auto file = MappedFile::Open("no/such/file");

  EXPECT_EQ(file.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(file.status().message(), HasSubstr("no/such/file: cannot open"));
}

TEST(MappedFile, RefusesADirectory) {
  const auto file = MappedFile::Open(MakeTestDirectory());

  EXPECT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(MappedFile, RefusesAPipeWithoutWaitingForItsWriter) {
  const std::string path = MakeTestDirectory() / "pipe";
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);

  const auto file = MappedFile::Open(path);

  EXPECT_THAT(file.status().message(), HasSubstr("is not a regular file"));
}

}  // namespace
}  // namespace stepd::checkpoint
