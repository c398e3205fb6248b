// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/kernels/memory_nodes.h"

#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "gtest/gtest.h"

namespace stepd::kernels {
namespace {

constexpr std::size_t kBytes = std::size_t{1} << 20;

class MemoryNodesTest : public testing::Test {
 protected:
  MemoryNodesTest()
      : memory_(mmap(nullptr, kBytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {}
  ~MemoryNodesTest() override { munmap(memory_, kBytes); }

  // Of the page at `offset`.
  int Policy(std::size_t offset) const {
    int mode = -1;
    syscall(SYS_get_mempolicy, &mode, nullptr, 0UL,
            static_cast<char*>(memory_) + offset, MPOL_F_ADDR);
    return mode;
  }

  void* const memory_;
};

TEST_F(MemoryNodesTest, ThereIsAtLeastOneNode) {
  EXPECT_GE(CountMemoryNodes(), 1);
}

TEST_F(MemoryNodesTest, WholePagesAreSpreadAndNothingElse) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  ASSERT_NE(memory_, MAP_FAILED);
  errno = 0;
  const bool is_spread =
      SpreadOverMemoryNodes(static_cast<char*>(memory_) + 100, 4 * page);
  if (!is_spread && (errno == EPERM || errno == ENOSYS)) {
    GTEST_SKIP() << "this system lets nobody say where memory is";
  }

  ASSERT_TRUE(is_spread);
  EXPECT_EQ(Policy(0), MPOL_DEFAULT);
  EXPECT_EQ(Policy(page), MPOL_INTERLEAVE);
  EXPECT_EQ(Policy(3 * page), MPOL_INTERLEAVE);
  EXPECT_EQ(Policy(4 * page), MPOL_DEFAULT);
  std::memset(memory_, 1, kBytes);
}

TEST_F(MemoryNodesTest, LessThanAPageStaysAsItIs) {
  EXPECT_FALSE(SpreadOverMemoryNodes(static_cast<char*>(memory_) + 1, 100));
}

}  // namespace
}  // namespace stepd::kernels
