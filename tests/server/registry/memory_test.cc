// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/registry/memory.h"

#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/common/error.h"

namespace stepd {
namespace {

namespace fs = std::filesystem;

// A machine of 1000 kB, of which a group may have limits.
class MemoryTest : public testing::Test {
 protected:
  MemoryTest()
      : root_(fs::path(testing::TempDir()) /
              testing::UnitTest::GetInstance()->current_test_info()->name()) {
    fs::remove_all(root_);
    Write("proc/meminfo", "MemTotal: 4000 kB\nMemAvailable:    1000 kB\n");
  }
  void Write(const std::string& path, const std::string& text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  std::int64_t Available() { return AvailableMemory(root_); }

  const fs::path root_;
};

TEST_F(MemoryTest, IsWhatTheMachineHas) { EXPECT_EQ(Available(), 1024000); }

TEST_F(MemoryTest, IsWithoutALimitWhereNothingIsKnown) {
  fs::remove_all(root_);
  EXPECT_EQ(Available(), std::numeric_limits<std::int64_t>::max());
}

TEST_F(MemoryTest, IsWhatTheGroupLeavesAndWhatItCanGiveBack) {
  Write("proc/self/cgroup", "0::/pod/stepd\n");
  Write("sys/fs/cgroup/pod/stepd/memory.max", "5000\n");
  Write("sys/fs/cgroup/pod/stepd/memory.current", "3000\n");
  Write("sys/fs/cgroup/pod/stepd/memory.stat", "anon 9\ninactive_file 500\n");
  EXPECT_EQ(Available(), 2500);
}

TEST_F(MemoryTest, IsTheLeastOfTheGroupsAround) {
  Write("proc/self/cgroup", "0::/pod/stepd\n");
  Write("sys/fs/cgroup/pod/stepd/memory.max", "max\n");
  Write("sys/fs/cgroup/pod/stepd/memory.current", "3000\n");
  Write("sys/fs/cgroup/pod/memory.max", "4000\n");
  Write("sys/fs/cgroup/pod/memory.current", "3900\n");
  EXPECT_EQ(Available(), 100);
}

TEST_F(MemoryTest, ReadsGroupsOfTheFirstVersionToo) {
  Write("proc/self/cgroup", "3:cpu,cpuacct:/x\n2:memory:/stepd\n");
  Write("sys/fs/cgroup/memory/stepd/memory.limit_in_bytes", "5000\n");
  Write("sys/fs/cgroup/memory/stepd/memory.usage_in_bytes", "3000\n");
  EXPECT_EQ(Available(), 2000);
}

TEST_F(MemoryTest, IsNotNegativeInAGroupThatIsOverItsLimit) {
  Write("proc/self/cgroup", "0::/\n");
  Write("sys/fs/cgroup/memory.max", "5\n");
  Write("sys/fs/cgroup/memory.current", "3000\n");
  EXPECT_EQ(Available(), 0);
}

TEST(CheckMemoryTest, SaysWhatIsNeededAndWhatThereIs) {
  EXPECT_TRUE(CheckMemory("version 2", 10, 10).ok());
  const absl::Status status = CheckMemory("version 2", 11, 10);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(status), reason::kWeightsMemory);
  EXPECT_EQ(status.message(),
            "version 2 needs 11 bytes of memory; 10 are available");
}

}  // namespace
}  // namespace stepd
