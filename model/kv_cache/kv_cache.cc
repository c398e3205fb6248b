// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/kv_cache/kv_cache.h"

#include "ATen/Functions.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "c10/util/Exception.h"
#include "model/kernels/huge_pages.h"

namespace stepd {
namespace {

// Kernels read whole vectors, also of the last row.
constexpr std::int64_t kPadding = 16;

}  // namespace

absl::StatusOr<KvCache> KvCache::Create(absl::Span<const KvCacheSpec> slots,
                                        std::int64_t num_tokens,
                                        const at::TensorOptions& numbers) {
  KvCache cache;
  std::int64_t count = 0;
  for (const KvCacheSpec& spec : slots) {
    count += spec.numbers_per_token() * num_tokens;
  }
  const auto bytes =
      count * static_cast<std::int64_t>(numbers.dtype().itemsize());
  try {
    for (const KvCacheSpec& spec : slots) {
      at::Tensor k =
          at::empty({spec.k_per_token * num_tokens + kPadding}, numbers);
      at::Tensor v =
          at::empty({spec.v_per_token * num_tokens + kPadding}, numbers);
      cache.slots_.push_back(
          {k.data_ptr(), spec.v_per_token > 0 ? v.data_ptr() : nullptr});
      for (at::Tensor* memory : {&k, &v}) {
        if (memory->is_cpu()) {
          kernels::AdviseHugePages(memory->data_ptr(), memory->nbytes());
        }
        cache.memory_.push_back(std::move(*memory));
      }
      cache.widths_.push_back(spec.k_per_token);
      cache.widths_.push_back(spec.v_per_token);
    }
  } catch (const c10::Error& error) {
    return absl::ResourceExhaustedError(
        absl::StrCat("a KV cache of ", bytes,
                     " bytes does not fit: ", error.what_without_backtrace()));
  }
  return cache;
}

void KvCache::CopyTokens(std::int64_t from, std::int64_t to,
                         std::int64_t count) {
  for (std::size_t i = 0; i < memory_.size(); ++i) {
    const std::int64_t width = widths_[i];
    if (width == 0) continue;
    memory_[i]
        .narrow(0, to * width, count * width)
        .copy_(memory_[i].narrow(0, from * width, count * width));
  }
}

}  // namespace stepd
