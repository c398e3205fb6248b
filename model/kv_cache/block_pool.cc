// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/kv_cache/block_pool.h"

#include <cassert>
#include <cstddef>

namespace stepd {

BlockPool::BlockPool(std::int32_t num_blocks)
    : use_counts_(static_cast<std::size_t>(num_blocks), 0) {
  free_.reserve(use_counts_.size());
  for (std::int32_t id = num_blocks; id-- > 0;) free_.push_back(id);
}

bool BlockPool::Allocate(std::int32_t count,
                         std::vector<std::int32_t>* blocks) {
  if (count > num_free()) return false;
  for (std::int32_t i = 0; i < count; ++i) {
    const std::int32_t id = free_.back();
    free_.pop_back();
    use_counts_[static_cast<std::size_t>(id)] = 1;
    blocks->push_back(id);
  }
  return true;
}

void BlockPool::Share(absl::Span<const std::int32_t> blocks) {
  for (std::int32_t id : blocks) {
    assert(use_count(id) > 0);
    ++use_counts_[static_cast<std::size_t>(id)];
  }
}

void BlockPool::Release(absl::Span<const std::int32_t> blocks) {
  for (std::int32_t id : blocks) {
    assert(use_count(id) > 0);
    if (--use_counts_[static_cast<std::size_t>(id)] == 0) free_.push_back(id);
  }
}

std::int32_t BlockPool::use_count(std::int32_t block) const {
  return use_counts_[static_cast<std::size_t>(block)];
}

}  // namespace stepd
