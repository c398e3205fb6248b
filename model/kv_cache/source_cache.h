// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Keys and values of a session's source (e.g. the vectors of an image): one
// slot per layer that reads it, each over all rows of the source.
//
// Thread safety: none; const access from any thread once it is filled.

#ifndef STEPD_MODEL_KV_CACHE_SOURCE_CACHE_H_
#define STEPD_MODEL_KV_CACHE_SOURCE_CACHE_H_

#include <cstdint>
#include <utility>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/kernels/kernel_set.h"
#include "model/kv_cache/kv_cache.h"

namespace stepd {

class SourceCache {
 public:
  // Errors: kResourceExhausted  it does not fit
  static absl::StatusOr<SourceCache> Create(absl::Span<const KvCacheSpec> slots,
                                            std::int64_t num_rows,
                                            int tokens_per_block,
                                            const at::TensorOptions& numbers);

  // The rows as the new tokens of one slice, for filling the slots.
  const kernels::BatchLayout& layout() const { return layout_; }

  // Valid as long as the cache.
  kernels::SourceKv slot(int index) const {
    return {cache_.slot(index), layout_.block_indices, layout_.num_tokens()};
  }

 private:
  explicit SourceCache(KvCache cache) : cache_(std::move(cache)) {}

  KvCache cache_;
  kernels::BatchLayout layout_;
};

}  // namespace stepd

#endif  // STEPD_MODEL_KV_CACHE_SOURCE_CACHE_H_
