// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/layers/banked_mlp.h"

#include "model/layers/banked_rows.h"

namespace stepd {

using kernels::KernelSet;

BankedMlp::BankedMlp(const BankedMlpConfig& config, const KernelSet& kernels)
    : activation_(config.activation) {
  for (const std::vector<LinearWeights>& layer : config.layers) {
    layers_.emplace_back();
    for (const LinearWeights& bank : layer) {
      layers_.back().push_back(kernels.Pack({bank}));
    }
  }
}

std::int64_t BankedMlp::ScratchSize(std::int64_t num_tokens) const {
  std::int64_t size =
      BankedRows::ScratchSize(num_banks(), num_tokens, in_dim()) +
      BankedRows::ScratchSize(num_banks(), num_tokens, out_dim());
  for (const auto& layer : layers_) {
    size += Scratch::Rounded(num_tokens * layer.front()->out_dim());
  }
  return size;
}

void BankedMlp::Apply(const KernelSet& kernels,
                      const kernels::BatchLayout& layout, const float* x,
                      Scratch* scratch, float* y) const {
  const Scratch::Scope scope(scratch);
  const std::int64_t num_tokens = layout.num_tokens();
  const BankedRows rows(kernels, layout, num_banks());
  const float* in = rows.Sort(x, in_dim(), scratch);
  float* out = nullptr;
  for (const auto& layer : layers_) {
    const std::int64_t in_width = layer.front()->in_dim();
    const std::int64_t width = layer.front()->out_dim();
    out = scratch->Take(num_tokens * width);
    rows.ForEachBank(
        [&](std::size_t bank, std::int64_t first, std::int64_t count) {
          kernels.Linear({layer[bank].get(), in + first * in_width, count,
                          out + first * width});
        });
    if (&layer != &layers_.back()) {
      kernels.Activate(activation_, out, num_tokens * width);
    }
    in = out;
  }
  out = rows.Unsort(out, out_dim(), scratch);
  kernels.CopyColumns({out, out_dim(), y, out_dim(), num_tokens, out_dim()});
}

}  // namespace stepd
