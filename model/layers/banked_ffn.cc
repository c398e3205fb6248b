// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/layers/banked_ffn.h"

#include <algorithm>
#include <cstddef>

#include "model/layers/banked_rows.h"

namespace stepd {

using kernels::KernelSet;

BankedFfn::BankedFfn(const BankedFfnConfig& config, const KernelSet& kernels)
    : dim_(config.banks.front().up.in_dim()) {
  for (const DenseFfnConfig& bank : config.banks) {
    banks_.emplace_back(bank, kernels);
  }
}

std::int64_t BankedFfn::ScratchSize(std::int64_t num_tokens) const {
  std::int64_t of_bank = 0;
  for (const DenseFfn& bank : banks_) {
    of_bank = std::max(of_bank, bank.ScratchSize(num_tokens));
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
        banks_[bank].AddTo(kernels, sorted + first * dim_, count, scratch, to);
      });
}

}  // namespace stepd
