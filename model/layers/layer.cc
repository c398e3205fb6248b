// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/layers/layer.h"

#include <algorithm>
#include <type_traits>

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

}  // namespace

const RopeConfig* FindRope(const AttentionConfig& config) {
  return std::visit(
      Overloaded{
          [](const GqaConfig& gqa) -> const RopeConfig* {
            return gqa.rope.inverse_frequencies.empty() ? nullptr : &gqa.rope;
          },
          [](const MlaConfig& mla) -> const RopeConfig* { return &mla.rope; },
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
    dim_ = config.attention_norm.weight.numel();
  }
  if (!std::holds_alternative<NoOp>(ffn_)) {
    ffn_norm_.emplace(config.ffn_norm, kernels);
    dim_ = config.ffn_norm.weight.numel();
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

std::int64_t Layer::ScratchSize(std::int64_t num_tokens) const {
  const auto size = Overloaded{
      [](const NoOp&) { return std::int64_t{0}; },
      [&](const auto& kind) { return kind.ScratchSize(num_tokens); }};
  return Scratch::Rounded(num_tokens * dim_) +
         std::max(std::visit(size, attention_), std::visit(size, ffn_));
}

void Layer::Forward(const KernelSet& kernels, const AttentionInputs& inputs,
                    float* x) const {
  const std::int64_t num_tokens = inputs.layout->num_tokens();
  const Scratch::Scope scope(inputs.scratch);
  float* normed = inputs.scratch->Take(num_tokens * dim_);
  if (attention_norm_.has_value()) {
    attention_norm_->Apply(kernels, x, num_tokens, normed);
  }
  std::visit(Overloaded{[](const NoOp&) {},
                        [&](const auto& attention) {
                          attention.AddTo(kernels, inputs, normed, x);
                        }},
             attention_);
  if (ffn_norm_.has_value()) {
    ffn_norm_->Apply(kernels, x, num_tokens, normed);
  }
  std::visit(
      Overloaded{
          [](const NoOp&) {},
          [&](const BankedFfn& banked) {
            banked.AddTo(kernels, *inputs.layout, normed, inputs.scratch, x);
          },
          [&](const MoeFfn& moe) {
            moe.AddTo(kernels, *inputs.layout, normed, inputs.scratch, x);
          },
          [&](const auto& ffn) {
            ffn.AddTo(kernels, normed, num_tokens, inputs.scratch, x);
          }},
      ffn_);
}

}  // namespace stepd
