// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/layers/layer_description.h"

#include <cstdint>
#include <optional>
#include <variant>

#include "ATen/core/Tensor.h"
#include "model/linear_weights.h"

namespace stepd {
namespace {

// ---- Parameters ---------------------------------------------------------

std::int64_t Count(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.numel() : 0;
}

std::int64_t Count(const LinearWeights& linear) {
  return Count(linear.weight) + Count(linear.bias);
}

std::int64_t Count(const NormConfig& norm) {
  return Count(norm.weight) + Count(norm.bias);
}

std::int64_t Count(const std::optional<NormConfig>& norm) {
  return norm.has_value() ? Count(*norm) : 0;
}

std::int64_t Count(const GqaWeights& gqa) {
  return Count(gqa.q) + Count(gqa.k) + Count(gqa.v) + Count(gqa.o) +
         Count(gqa.q_norm) + Count(gqa.k_norm);
}

std::int64_t Count(const DenseFfnConfig& ffn) {
  return Count(ffn.gate) + Count(ffn.up) + Count(ffn.down);
}

// ---- Kinds --------------------------------------------------------------

struct AttentionDescriber {
  LayerSpec* spec;

  void operator()(const NoOp& /*config*/) const { spec->attention = "no-op"; }

  void operator()(const LinearMixer& config) const {
    spec->attention = "linear";
    spec->num_parameters += Count(config.linear);
  }

  void operator()(const GqaConfig& config) const {
    spec->attention = "gqa";
    spec->num_heads = config.num_heads;
    spec->num_kv_heads = config.num_kv_heads;
    spec->head_dim = config.head_dim;
    spec->window = config.window_left;
    spec->num_banks = static_cast<int>(config.banks.size());
    for (const GqaWeights& bank : config.banks) {
      spec->num_parameters += Count(bank);
    }
  }

  void operator()(const MlaConfig& config) const {
    spec->attention = "mla";
    spec->num_heads = config.num_heads;
    spec->num_kv_heads = 1;
    spec->head_dim = config.latent_dim + config.rope_dim;
    spec->window = -1;
    spec->num_parameters += Count(config.q_down) + Count(config.q_norm) +
                            Count(config.q_up_nope) + Count(config.q_up_rope) +
                            Count(config.kv_down) + Count(config.kv_norm) +
                            Count(config.kv_up) + Count(config.o);
  }

  void operator()(const CrossAttentionConfig& config) const {
    spec->attention = "cross";
    spec->num_heads = config.num_heads;
    spec->num_kv_heads = config.num_kv_heads;
    spec->head_dim = config.head_dim;
    spec->num_banks = static_cast<int>(config.q.size());
    spec->num_parameters +=
        Count(config.k) + Count(config.v) + Count(config.source_norm);
    for (const LinearWeights& q : config.q) spec->num_parameters += Count(q);
    for (const LinearWeights& o : config.o) spec->num_parameters += Count(o);
  }
};

struct FfnDescriber {
  LayerSpec* spec;

  void operator()(const NoOp& /*config*/) const { spec->ffn = "no-op"; }

  void operator()(const LinearMixer& config) const {
    spec->ffn = "linear";
    spec->num_parameters += Count(config.linear);
  }

  void operator()(const DenseFfnConfig& config) const {
    spec->ffn = "dense";
    spec->ffn_dim = config.down.in_dim();
    spec->num_parameters += Count(config);
  }

  void operator()(const BankedFfnConfig& config) const {
    spec->num_banks = static_cast<int>(config.banks.size());
    // Last of all, the first bank says what they are.
    for (auto bank = config.banks.rbegin(); bank != config.banks.rend();
         ++bank) {
      std::visit(*this, *bank);
    }
  }

  void operator()(const MoeConfig& config) const {
    spec->ffn = "moe";
    // What an expert has room for depends on who else is in the call.
    if (config.choice == MoeChoice::kByExpert || config.capacity_factor > 0.0) {
      spec->window = -1;
    }
    spec->ffn_dim = config.experts.front().down.in_dim();
    spec->num_experts = static_cast<int>(config.experts.size());
    spec->experts_per_token =
        config.choice == MoeChoice::kByToken ? config.top_k : 0;
    spec->num_shared_experts = static_cast<int>(config.shared_experts.size());
    spec->num_parameters += Count(config.router) + Count(config.selection_bias);
    for (const DenseFfnConfig& expert : config.experts) {
      spec->num_parameters += Count(expert);
    }
    for (const DenseFfnConfig& expert : config.shared_experts) {
      spec->num_parameters += Count(expert);
    }
  }
};

}  // namespace

LayerSpec DescribeLayer(const LayerConfig& config) {
  LayerSpec spec;
  spec.num_parameters = Count(config.attention_norm) + Count(config.ffn_norm);
  if (config.modulation.has_value()) {
    spec.num_parameters += Count(config.modulation->project);
  }
  std::visit(AttentionDescriber{&spec}, config.attention);
  std::visit(FfnDescriber{&spec}, config.ffn);
  return spec;
}

}  // namespace stepd
