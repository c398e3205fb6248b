// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/kernels/weight_arena.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "model/kernels/huge_pages.h"
#include "model/kernels/memory_nodes.h"

namespace stepd::kernels {
namespace {

constexpr std::size_t kMinChunk = 2 * kHugePage;
constexpr std::size_t kAlignment = 64;

std::size_t RoundUp(std::size_t value, std::size_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

void WeightArena::Free::operator()(std::byte* memory) const {
  std::free(memory);
}

std::byte* WeightArena::Allocate(std::size_t bytes) {
  bytes = RoundUp(bytes, kAlignment);
  const absl::MutexLock lock(&mutex_);
  if (chunks_.empty() || chunks_.back().size - chunks_.back().used < bytes) {
    Chunk chunk;
    chunk.size = RoundUp(std::max(bytes, kMinChunk), kHugePage);
    chunk.memory.reset(
        static_cast<std::byte*>(std::aligned_alloc(kHugePage, chunk.size)));
    if (chunk.memory == nullptr) throw std::bad_alloc();
    AdviseHugePages(chunk.memory.get(), chunk.size);
    if (CountMemoryNodes() > 1) {
      SpreadOverMemoryNodes(chunk.memory.get(), chunk.size);
    }
    std::memset(chunk.memory.get(), 0, chunk.size);
    chunks_.push_back(std::move(chunk));
  }
  Chunk& chunk = chunks_.back();
  std::byte* memory = chunk.memory.get() + chunk.used;
  chunk.used += bytes;
  return memory;
}

}  // namespace stepd::kernels
