// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/stored_tensor.h"

#include <algorithm>
#include <cstddef>

namespace stepd::checkpoint {

std::optional<std::int64_t> NumElements(absl::Span<const std::int64_t> shape) {
  // Empty dimensions count as one, so that they do not hide an overflow in the
  // strides of the others.
  std::int64_t product = 1;
  bool is_empty = false;
  for (std::int64_t size : shape) {
    if (size < 0) return std::nullopt;
    is_empty |= size == 0;
    if (__builtin_mul_overflow(product, std::max<std::int64_t>(size, 1),
                               &product)) {
      return std::nullopt;
    }
  }
  return is_empty ? 0 : product;
}

std::vector<std::int64_t> RowMajorStrides(
    absl::Span<const std::int64_t> shape) {
  std::vector<std::int64_t> strides(shape.size(), 1);
  for (std::size_t i = shape.size(); i-- > 1;) {
    strides[i - 1] = strides[i] * std::max<std::int64_t>(shape[i], 1);
  }
  return strides;
}

}  // namespace stepd::checkpoint
