// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Which KV blocks are free, and how many sessions use each of the others.
// Only ids: the memory behind them belongs to a PolicyRunner.
//
// Invariants: (1) an id is either in the free list with count 0 or out of it
// with count >= 1; (2) num_free() + (ids with count >= 1) == num_blocks().
//
// Thread safety: none; one executor owns it.

#ifndef STEPD_MODEL_KV_CACHE_BLOCK_POOL_H_
#define STEPD_MODEL_KV_CACHE_BLOCK_POOL_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace stepd {

class BlockPool {
 public:
  explicit BlockPool(std::int32_t num_blocks);

  std::int32_t num_blocks() const {
    return static_cast<std::int32_t>(use_counts_.size());
  }
  std::int32_t num_free() const {
    return static_cast<std::int32_t>(free_.size());
  }
  std::int32_t num_used() const { return num_blocks() - num_free(); }

  // Appends `count` blocks, each used once, to `blocks`; or does nothing and
  // returns false when fewer are free.
  bool Allocate(std::int32_t count, std::vector<std::int32_t>* blocks);

  // One more session uses each of these blocks.
  // REQUIRES: every block is in use.
  void Share(absl::Span<const std::int32_t> blocks);

  // One session less uses each of these blocks; the last one frees them.
  // REQUIRES: every block is in use.
  void Release(absl::Span<const std::int32_t> blocks);

  std::int32_t use_count(std::int32_t block) const;

 private:
  std::vector<std::int32_t> free_;  // used as a stack: warm blocks first
  std::vector<std::int32_t> use_counts_;
};

}  // namespace stepd

#endif  // STEPD_MODEL_KV_CACHE_BLOCK_POOL_H_
