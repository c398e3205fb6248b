// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/registry/repository.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace stepd {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class RepositoryTest : public testing::Test {
 protected:
  RepositoryTest()
      : root_(fs::path(testing::TempDir()) /
              testing::UnitTest::GetInstance()->current_test_info()->name()),
        repository_(root_) {
    fs::remove_all(root_);
    fs::create_directories(root_);
  }
  void Write(const std::string& path, const std::string& text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }

  const fs::path root_;
  Repository repository_;
};

TEST_F(RepositoryTest, ListsFoldersWhoseNamesAreNumbers) {
  for (const char* name : {"10", "9", "0", "07", "-1", "1.5", "new", "11x"}) {
    fs::create_directories(root_ / name);
  }
  Write("12", "a file");
  EXPECT_THAT(repository_.List(), ElementsAre(9, 10));
}

TEST_F(RepositoryTest, HasNothingWhereThereIsNoFolder) {
  EXPECT_THAT(Repository("").List(), IsEmpty());
  EXPECT_THAT(Repository("no/such/folder").Look(), IsEmpty());
}

TEST_F(RepositoryTest, GivesAVersionWhenItsFilesAreTheSameTwice) {
  Write("1/config.json", "{}");
  EXPECT_THAT(repository_.Look(), IsEmpty());
  Write("1/model.safetensors", "a");
  EXPECT_THAT(repository_.Look(), IsEmpty());
  Write("1/model.safetensors", "ab");
  EXPECT_THAT(repository_.Look(), IsEmpty());
  EXPECT_THAT(repository_.Look(), ElementsAre(1));
  EXPECT_THAT(repository_.Look(), IsEmpty());
}

TEST_F(RepositoryTest, GivesAVersionAgainWhenItWasWrittenAnew) {
  Write("1/config.json", "{}");
  repository_.Look();
  ASSERT_THAT(repository_.Look(), ElementsAre(1));
  Write("1/config.json", "{ }");
  EXPECT_THAT(repository_.Look(), IsEmpty());
  EXPECT_THAT(repository_.Look(), ElementsAre(1));
}

TEST_F(RepositoryTest, AnEmptyFolderIsNoVersionYet) {
  fs::create_directories(root_ / "1");
  repository_.Look();
  EXPECT_THAT(repository_.Look(), IsEmpty());
}

}  // namespace
}  // namespace stepd
