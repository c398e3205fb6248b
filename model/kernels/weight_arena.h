// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Memory for packed weights, in huge pages where the system has them.
//
// Thread safety: thread-safe.

#ifndef STEPD_MODEL_KERNELS_WEIGHT_ARENA_H_
#define STEPD_MODEL_KERNELS_WEIGHT_ARENA_H_

#include <cstddef>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace stepd::kernels {

class WeightArena {
 public:
  // Zeroed memory at a multiple of 64 bytes, which lives as long as the arena.
  // Throws std::bad_alloc.
  std::byte* Allocate(std::size_t bytes);

 private:
  struct Free {
    void operator()(std::byte* memory) const;
  };
  struct Chunk {
    std::unique_ptr<std::byte, Free> memory;
    std::size_t size = 0;
    std::size_t used = 0;
  };

  absl::Mutex mutex_;
  std::vector<Chunk> chunks_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace stepd::kernels

#endif  // STEPD_MODEL_KERNELS_WEIGHT_ARENA_H_
