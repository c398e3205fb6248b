// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/layers/banked_ffn.h"

#include <algorithm>
#include <cstddef>
#include <variant>

#include "model/layers/banked_rows.h"

namespace stepd {

using kernels::KernelSet;

namespace {

std::int64_t DimOf(const BankedFfnConfig::Bank& bank) {
  if (const auto* moe = std::get_if<MoeConfig>(&bank)) {
    return moe->router.in_dim();
  }
  return std::get<DenseFfnConfig>(bank).up.in_dim();
}

// Where each session's rows of one bank begin, counted from the bank's first.
absl::Span<const std::int32_t> IndptrOf(const kernels::BatchLayout& layout,
                                        std::size_t bank, Scratch* scratch) {
  if (layout.banks.indptr.empty()) return layout.query_indptr;
  const auto rows = layout.banks.rows.begin();
  const auto begin = rows + layout.banks.indptr[bank];
  const auto end = rows + layout.banks.indptr[bank + 1];
  const auto indptr =
      scratch->TakeHost<std::int32_t>(layout.query_indptr.size());
  std::transform(layout.query_indptr.begin(), layout.query_indptr.end(),
                 indptr.begin(), [&](std::int32_t first) {
                   return static_cast<std::int32_t>(
                       std::lower_bound(begin, end, first) - begin);
                 });
  return indptr;
}

}  // namespace

BankedFfn::BankedFfn(const BankedFfnConfig& config, const KernelSet& kernels)
    : dim_(DimOf(config.banks.front())) {
  for (const BankedFfnConfig::Bank& bank : config.banks) {
    if (const auto* moe = std::get_if<MoeConfig>(&bank)) {
      banks_.emplace_back(MoeFfn(*moe, kernels));
    } else {
      banks_.emplace_back(DenseFfn(std::get<DenseFfnConfig>(bank), kernels));
    }
  }
}

std::int64_t BankedFfn::ScratchSize(std::int64_t num_tokens) const {
  std::int64_t of_bank = 0;
  for (const auto& bank : banks_) {
    of_bank = std::max(
        of_bank,
        std::visit([&](const auto& ffn) { return ffn.ScratchSize(num_tokens); },
                   bank));
  }
  return 2 * BankedRows::ScratchSize(banks_.size(), num_tokens, dim_) + of_bank;
}

void BankedFfn::AddTo(const KernelSet& kernels,
                      const kernels::BatchLayout& layout, const float* x,
                      Scratch* scratch, float* residual) const {
  const Scratch::Scope scope(scratch);
  const BankedRows rows(kernels, layout, banks_.size());
  const float* sorted = rows.Sort(x, dim_, scratch);
  rows.AddTo(
      residual, dim_, scratch,
      [&](std::size_t bank, std::int64_t first, std::int64_t count, float* to) {
        const float* from = sorted + first * dim_;
        if (const auto* moe = std::get_if<MoeFfn>(&banks_[bank])) {
          moe->AddTo(kernels, IndptrOf(layout, bank, scratch), from, scratch,
                     to);
        } else {
          std::get<DenseFfn>(banks_[bank])
              .AddTo(kernels, from, count, scratch, to);
        }
      });
}

}  // namespace stepd
