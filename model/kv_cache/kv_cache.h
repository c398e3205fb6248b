// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The memory behind block ids: one slot of keys and values per cached layer
// visit, each an array over all blocks. One block table serves all slots.
// Copies share the memory.
//
// Thread safety: none; one executor's runners use it.

#ifndef STEPD_MODEL_KV_CACHE_KV_CACHE_H_
#define STEPD_MODEL_KV_CACHE_KV_CACHE_H_

#include <cstdint>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/kernels/kernel_set.h"

namespace stepd {

// How many numbers one layer visit caches of a token.
struct KvCacheSpec {
  std::int64_t k_per_token = 0;
  std::int64_t v_per_token = 0;  // 0: values are columns of the keys

  std::int64_t numbers_per_token() const { return k_per_token + v_per_token; }
  friend bool operator==(const KvCacheSpec& a, const KvCacheSpec& b) {
    return a.k_per_token == b.k_per_token && a.v_per_token == b.v_per_token;
  }
};

class KvCache {
 public:
  // Allocates all slots with numbers of the given kind on the given device.
  // Memory of the CPU is only taken as blocks are used.
  // Errors: kResourceExhausted  it does not fit; the message says how much
  static absl::StatusOr<KvCache> Create(absl::Span<const KvCacheSpec> slots,
                                        std::int64_t num_tokens,
                                        const at::TensorOptions& numbers);

  // Copies `count` tokens of every slot; whole blocks.
  void CopyTokens(std::int64_t from, std::int64_t to, std::int64_t count);

  const kernels::KvSlot& slot(int index) const {
    return slots_[static_cast<std::size_t>(index)];
  }

 private:
  KvCache() = default;

  // Keys and values of each slot in turn.
  std::vector<at::Tensor> memory_;
  std::vector<std::int64_t> widths_;  // per token
  std::vector<kernels::KvSlot> slots_;
};

}  // namespace stepd

#endif  // STEPD_MODEL_KV_CACHE_KV_CACHE_H_
