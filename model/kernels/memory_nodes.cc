// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/kernels/memory_nodes.h"

#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <memory>

#include "absl/numeric/bits.h"

namespace stepd::kernels {
namespace {

// As many as Linux can be built for.
constexpr unsigned long kMaxNodes = 1024;
using NodeMask = std::array<unsigned long, kMaxNodes / sizeof(long) / CHAR_BIT>;

// All zeros where the system does not say.
NodeMask AllowedNodes() {
  NodeMask nodes{};
  if (syscall(SYS_get_mempolicy, nullptr, nodes.data(), kMaxNodes, nullptr,
              MPOL_F_MEMS_ALLOWED) != 0) {
    nodes.fill(0);
  }
  return nodes;
}

}  // namespace

int CountMemoryNodes() {
  int count = 0;
  for (const unsigned long word : AllowedNodes()) count += absl::popcount(word);
  return count == 0 ? 1 : count;
}

bool SpreadOverMemoryNodes(void* memory, std::size_t bytes) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  if (std::align(page, page, memory, bytes) == nullptr) return false;
  const NodeMask nodes = AllowedNodes();
  return syscall(SYS_mbind, memory, bytes / page * page, MPOL_INTERLEAVE,
                 nodes.data(), kMaxNodes, 0) == 0;
}

}  // namespace stepd::kernels
