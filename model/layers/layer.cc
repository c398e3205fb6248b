// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/layers/layer.h"

#include <algorithm>
#include <cstddef>
#include <type_traits>
#include <vector>

#include "model/layers/banked_rows.h"

namespace stepd {

using kernels::KernelSet;

namespace {

// For std::visit with one lambda per alternative.
template <typename... Fs>
struct Overloaded : Fs... {
  using Fs::operator()...;
};
template <typename... Fs>
Overloaded(Fs...) -> Overloaded<Fs...>;

std::int64_t WidthOf(const LayerConfig& config, const NormConfig& norm) {
  return config.modulation.has_value() ? config.modulation->dim
                                       : norm.weight.size(-1);
}

}  // namespace

const RopeConfig* FindRope(const AttentionConfig& config) {
  return std::visit(
      Overloaded{
          [](const GqaConfig& gqa) -> const RopeConfig* {
            return gqa.rope.inverse_frequencies.empty() ? nullptr : &gqa.rope;
          },
          [](const MlaConfig& mla) -> const RopeConfig* { return &mla.rope; },
          [](const CrossAttentionConfig& cross) -> const RopeConfig* {
            return cross.rope.inverse_frequencies.empty() ? nullptr
                                                          : &cross.rope;
          },
          [](const auto&) -> const RopeConfig* { return nullptr; }},
      config);
}

Layer::Attention Layer::MakeAttention(const AttentionConfig& config,
                                      const KernelSet& kernels,
                                      int tokens_per_block) {
  return std::visit(
      Overloaded{[](const NoOp&) -> Attention { return NoOp(); },
                 [&](const LinearMixer& linear) -> Attention {
                   return LinearMixerLayer(linear, kernels);
                 },
                 [&](const GqaConfig& gqa) -> Attention {
                   return GqaAttention(gqa, kernels, tokens_per_block);
                 },
                 [&](const MlaConfig& mla) -> Attention {
                   return MlaAttention(mla, kernels, tokens_per_block);
                 },
                 [&](const CrossAttentionConfig& cross) -> Attention {
                   return CrossAttention(cross, kernels, tokens_per_block);
                 }},
      config);
}

Layer::Ffn Layer::MakeFfn(const FfnConfig& config, const KernelSet& kernels) {
  return std::visit(Overloaded{[](const NoOp&) -> Ffn { return NoOp(); },
                               [&](const LinearMixer& linear) -> Ffn {
                                 return LinearMixerLayer(linear, kernels);
                               },
                               [&](const DenseFfnConfig& dense) -> Ffn {
                                 return DenseFfn(dense, kernels);
                               },
                               [&](const BankedFfnConfig& banked) -> Ffn {
                                 return BankedFfn(banked, kernels);
                               },
                               [&](const MoeConfig& moe) -> Ffn {
                                 return MoeFfn(moe, kernels);
                               }},
                    config);
}

Layer::Layer(const LayerConfig& config, const KernelSet& kernels,
             int tokens_per_block)
    : attention_(MakeAttention(config.attention, kernels, tokens_per_block)),
      ffn_(MakeFfn(config.ffn, kernels)) {
  if (!std::holds_alternative<NoOp>(attention_)) {
    attention_norm_.emplace(config.attention_norm, kernels);
    dim_ = WidthOf(config, config.attention_norm);
  }
  if (!std::holds_alternative<NoOp>(ffn_)) {
    ffn_norm_.emplace(config.ffn_norm, kernels);
    dim_ = WidthOf(config, config.ffn_norm);
  }
  if (config.modulation.has_value()) {
    modulation_.emplace(*config.modulation, kernels);
  }
}

std::optional<KvCacheSpec> Layer::cache_spec() const {
  return std::visit(
      Overloaded{[](const GqaAttention& gqa) -> std::optional<KvCacheSpec> {
                   return gqa.cache_spec();
                 },
                 [](const MlaAttention& mla) -> std::optional<KvCacheSpec> {
                   return mla.cache_spec();
                 },
                 [](const auto&) -> std::optional<KvCacheSpec> {
                   return std::nullopt;
                 }},
      attention_);
}

std::optional<KvCacheSpec> Layer::source_spec() const {
  const auto* cross = std::get_if<CrossAttention>(&attention_);
  if (cross == nullptr) return std::nullopt;
  return cross->source_spec();
}

void Layer::ReadSource(const KernelSet& kernels, SourceRows rows,
                       const kernels::KvSlot& slot) const {
  if (modulation_.has_value()) rows.modulation += modulation_->source_offset();
  std::get<CrossAttention>(attention_).ReadSource(kernels, rows, slot);
}

std::int64_t Layer::ScratchSize(std::int64_t num_tokens) const {
  const auto size = Overloaded{
      [](const NoOp&) { return std::int64_t{0}; },
      [&](const auto& kind) { return kind.ScratchSize(num_tokens); }};
  std::size_t num_banks = 1;
  for (const std::optional<Norm>* norm : {&attention_norm_, &ffn_norm_}) {
    if (norm->has_value())
      num_banks = std::max(num_banks, (*norm)->num_banks());
  }
  const int num_rows = modulation_.has_value() ? 2 : 1;
  return num_rows * Scratch::Rounded(num_tokens * dim_) +
         2 * BankedRows::ScratchSize(num_banks, num_tokens, dim_) +
         std::max(std::visit(size, attention_), std::visit(size, ffn_));
}

void Layer::ApplyNorm(const KernelSet& kernels, const AttentionInputs& inputs,
                      Half half, const float* x, float* normed) const {
  const Norm& norm = half == Half::kAttention ? *attention_norm_ : *ffn_norm_;
  if (norm.num_banks() > 1) {
    ApplyBankedNorm(kernels, inputs, norm, x, normed);
    return;
  }
  if (!modulation_.has_value()) {
    norm.Apply(kernels, x, inputs.layout->num_tokens(), normed);
    return;
  }
  const std::vector<std::int32_t>& indptr = inputs.layout->query_indptr;
  for (std::size_t b = 0; b + 1 < indptr.size(); ++b) {
    const float* scale =
        inputs.modulations[b] + (half == Half::kAttention ? 0 : 3 * dim_);
    const std::int64_t first = indptr[b] * dim_;
    norm.ApplyWith(kernels, {scale, scale + dim_, dim_}, x + first,
                   indptr[b + 1] - indptr[b], normed + first);
  }
}

void Layer::ApplyBankedNorm(const KernelSet& kernels,
                            const AttentionInputs& inputs, const Norm& norm,
                            const float* x, float* normed) {
  const std::int64_t dim = norm.dim();
  const std::int64_t num_tokens = inputs.layout->num_tokens();
  const Scratch::Scope scope(inputs.scratch);
  const BankedRows rows(kernels, *inputs.layout, norm.num_banks());
  const float* sorted = rows.Sort(x, dim, inputs.scratch);
  rows.ForEachBank(
      [&](std::size_t bank, std::int64_t first, std::int64_t count) {
        norm.Apply(kernels, sorted + first * dim, count, normed + first * dim,
                   bank);
      });
  const float* unsorted = rows.Unsort(normed, dim, inputs.scratch);
  if (unsorted == normed) return;
  kernels.CopyColumns({unsorted, dim, normed, dim, num_tokens, dim});
}

template <typename Add>
void Layer::AddGated(const KernelSet& kernels, const AttentionInputs& inputs,
                     Half half, float* x, Add add) const {
  if (!modulation_.has_value()) {
    add(x);
    return;
  }
  const Scratch::Scope scope(inputs.scratch);
  const std::int64_t num_tokens = inputs.layout->num_tokens();
  float* added = inputs.scratch->Take(num_tokens * dim_);
  kernels.Zero(added, num_tokens * dim_);
  add(added);
  const std::vector<std::int32_t>& indptr = inputs.layout->query_indptr;
  for (std::size_t b = 0; b + 1 < indptr.size(); ++b) {
    const float* gate =
        inputs.modulations[b] + (half == Half::kAttention ? 2 : 5) * dim_;
    const std::int64_t first = indptr[b] * dim_;
    kernels.AddGated(added + first, indptr[b + 1] - indptr[b], dim_, gate,
                     x + first);
  }
}

void Layer::Forward(const KernelSet& kernels, const AttentionInputs& inputs,
                    float* x) const {
  const std::int64_t num_tokens = inputs.layout->num_tokens();
  const Scratch::Scope scope(inputs.scratch);
  float* normed = inputs.scratch->Take(num_tokens * dim_);
  if (attention_norm_.has_value()) {
    ApplyNorm(kernels, inputs, Half::kAttention, x, normed);
    AddGated(kernels, inputs, Half::kAttention, x, [&](float* to) {
      std::visit(Overloaded{[](const NoOp&) {},
                            [&](const auto& attention) {
                              attention.AddTo(kernels, inputs, normed, to);
                            }},
                 attention_);
    });
  }
  if (!ffn_norm_.has_value()) return;
  ApplyNorm(kernels, inputs, Half::kFfn, x, normed);
  AddGated(kernels, inputs, Half::kFfn, x, [&](float* to) {
    std::visit(Overloaded{[](const NoOp&) {},
                          [&](const BankedFfn& banked) {
                            banked.AddTo(kernels, *inputs.layout, normed,
                                         inputs.scratch, to);
                          },
                          [&](const MoeFfn& moe) {
                            moe.AddTo(kernels, inputs.layout->query_indptr,
                                      normed, inputs.scratch, to);
                          },
                          [&](const auto& ffn) {
                            ffn.AddTo(kernels, normed, num_tokens,
                                      inputs.scratch, to);
                          }},
               ffn_);
  });
}

}  // namespace stepd
