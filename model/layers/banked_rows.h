// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The rows of a batch as a layer with several banks of weights sees them: each
// bank's rows together, so that every bank runs once. A layer with one bank
// sees the batch as it is, and nothing is copied.
//
// Thread safety: a plain value; borrows the kernels and the layout.

#ifndef STEPD_MODEL_LAYERS_BANKED_ROWS_H_
#define STEPD_MODEL_LAYERS_BANKED_ROWS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "model/kernels/kernel_set.h"
#include "model/layers/scratch.h"

namespace stepd {

class BankedRows {
 public:
  // REQUIRES: num_banks is 1, or no bank of the layout is above it.
  BankedRows(const kernels::KernelSet& kernels,
             const kernels::BatchLayout& layout, std::size_t num_banks)
      : kernels_(kernels), layout_(layout), is_banked_(num_banks > 1) {}

  // Scratch floats of one call to Sort(), Unsort() or AddTo().
  static std::int64_t ScratchSize(std::size_t num_banks,
                                  std::int64_t num_tokens, std::int64_t width) {
    return num_banks > 1 ? Scratch::Rounded(num_tokens * width) : 0;
  }

  // Rows x [N, width] of the batch in bank order; x itself where it is in it.
  const float* Sort(const float* x, std::int64_t width,
                    Scratch* scratch) const {
    if (is_sorted()) return x;
    return Gather(x, width, layout_.banks.rows, scratch);
  }
  // The reverse.
  float* Unsort(float* x, std::int64_t width, Scratch* scratch) const {
    if (is_sorted()) return x;
    return Gather(x, width, layout_.banks.places, scratch);
  }

  // Calls run(bank, first place, number of rows) for every bank with rows.
  template <typename Run>
  void ForEachBank(Run run) const {
    if (!is_banked_ || layout_.banks.indptr.empty()) {
      run(std::size_t{0}, std::int64_t{0}, layout_.num_tokens());
      return;
    }
    for (std::size_t bank = 0; bank + 1 < layout_.banks.indptr.size(); ++bank) {
      const std::int64_t first = layout_.banks.indptr[bank];
      const std::int64_t count = layout_.banks.indptr[bank + 1] - first;
      if (count > 0) run(bank, first, count);
    }
  }

  // As ForEachBank with run(bank, first place, number of rows, rows), where
  // `rows` are the residual's [number of rows, width] that run adds to.
  template <typename Run>
  void AddTo(float* residual, std::int64_t width, Scratch* scratch,
             Run run) const {
    const Scratch::Scope scope(scratch);
    float* rows = residual;
    if (!is_sorted()) {
      rows = Gather(residual, width, layout_.banks.rows, scratch);
    }
    ForEachBank([&](std::size_t bank, std::int64_t first, std::int64_t count) {
      run(bank, first, count, rows + first * width);
    });
    if (!is_sorted()) {
      kernels_.GatherRows(rows, width, layout_.banks.places, residual);
    }
  }

 private:
  bool is_sorted() const { return !is_banked_ || layout_.banks.is_sorted; }

  float* Gather(const float* x, std::int64_t width,
                const std::vector<std::int32_t>& order,
                Scratch* scratch) const {
    float* y = scratch->Take(layout_.num_tokens() * width);
    kernels_.GatherRows(x, width, order, y);
    return y;
  }

  const kernels::KernelSet& kernels_;
  const kernels::BatchLayout& layout_;
  bool is_banked_;
};

}  // namespace stepd

#endif  // STEPD_MODEL_LAYERS_BANKED_ROWS_H_
