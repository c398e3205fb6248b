// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/kempner_forge_model.h"

#include <string>
#include <utility>

#include "ATen/core/Tensor.h"
#include "absl/strings/str_cat.h"
#include "model/checkpoint/projections.h"
#include "model/checkpoint/rope_parameters.h"

namespace stepd::checkpoint::kempner_forge {
namespace {

constexpr double kQkNormEps = 1e-5;

GqaShape AttentionShapeOf(const Shape& s) {
  GqaShape shape = {s.dim, s.num_heads, s.num_kv_heads, s.head_dim()};
  if (s.has_qk_norm) shape.qk_norm_eps = kQkNormEps;
  return shape;
}

void ReadChoices(ConfigReader* model, Shape* shape) {
  const std::string norm = model->OptionalString("norm_type", "rmsnorm");
  if (norm != "rmsnorm" && norm != "layernorm") {
    model->Fail("norm_type", "is neither \"rmsnorm\" nor \"layernorm\"");
  }
  shape->norm = norm == "layernorm" ? NormKind::kLayer : NormKind::kRms;
  const std::string activation = model->OptionalString("activation", "silu");
  if (activation == "gelu" || activation == "standard_gelu") {
    shape->activation = Activation::kGelu;
  } else if (activation == "relu" || activation == "standard_relu") {
    shape->activation = Activation::kRelu;
  } else if (activation != "silu" && activation != "swiglu") {
    model->Fail("activation", "is none of silu, gelu, relu");
  }
  const std::string router =
      model->OptionalString("moe_router", "softmax_topk");
  if (router != "softmax_topk" && router != "sigmoid_topk") {
    model->Fail("moe_router", "is neither softmax_topk nor sigmoid_topk");
  }
  shape->router = router == "sigmoid_topk" ? RouterScores::kSigmoid
                                           : RouterScores::kSoftmax;
}

void ReadMoeShape(ConfigReader* model, Shape* shape) {
  shape->num_experts = model->OptionalInt("num_experts", 0, {0, 1 << 16});
  shape->top_k = model->OptionalInt("moe_top_k", 2);
  shape->moe_frequency = model->OptionalInt("moe_frequency", 1);
  shape->has_shared_expert =
      model->OptionalInt("moe_shared_experts", 0, {0, kMaxSize}) > 0;
  shape->has_packed_experts = model->OptionalBool("moe_packed_experts", false);
  shape->capacity_factor = model->OptionalNumber("moe_capacity_factor", 0.0);
  if (shape->num_experts > 0 && shape->top_k > shape->num_experts) {
    model->Fail("moe_top_k",
                absl::StrCat("is above num_experts, ", shape->num_experts));
  }
}

}  // namespace

Shape ReadShape(ConfigReader* config) {
  Shape shape;
  ConfigReader model = config->RequireObject("model");
  shape.dim = model.OptionalInt("dim", 4096);
  shape.num_layers = model.OptionalInt("n_layers", 32);
  shape.num_heads = model.OptionalInt("n_heads", 32);
  shape.num_kv_heads = model.OptionalInt("n_kv_heads", shape.num_heads);
  shape.vocabulary = model.OptionalInt("vocab_size", 32000);
  shape.max_tokens = model.OptionalInt("max_seq_len", 2048);
  shape.norm_eps = model.OptionalNumber("norm_eps", 1e-5, kPositive);
  shape.rope_theta = model.OptionalNumber("rope_theta", 10000.0, kPositive);
  shape.has_tied_head = model.OptionalBool("tie_embeddings", false);
  shape.has_qk_norm = model.OptionalBool("qk_norm", false);
  ReadChoices(&model, &shape);
  ReadMoeShape(&model, &shape);
  if (shape.num_heads % shape.num_kv_heads != 0) {
    model.Fail("n_kv_heads",
               absl::StrCat("must divide n_heads, ", shape.num_heads));
  }
  if (shape.dim % shape.num_heads != 0 || shape.head_dim() % 2 != 0) {
    model.Fail("n_heads", "must divide dim into heads of even width");
  }
  // Feed-forward sizes are taken from the tensors; the rest is for training.
  for (const char* unused :
       {"ffn_dim_multiplier", "ffn_hidden_dim", "init_std", "model_type",
        "sdpa_backend", "moe_aux_loss_weight", "moe_sequence_aux_loss_weight",
        "moe_gradient_scale", "moe_bias_schedule"}) {
    model.Ignore(unused);
  }
  model.RefuseOtherKeys();
  return shape;
}

NormConfig ReadNorm(const Shape& s, absl::string_view name,
                    WeightReader weights) {
  NormConfig norm = weights.Norm(name, s.dim, s.norm_eps);
  norm.kind = s.norm;
  if (s.norm == NormKind::kLayer) {
    norm.bias = weights.Take(absl::StrCat(name, ".bias"), {s.dim});
  }
  return norm;
}

GqaConfig ReadAttention(const Shape& s, absl::string_view bank,
                        WeightReader weights) {
  GqaConfig gqa = ReadGqa(AttentionShapeOf(s), bank, weights);
  gqa.rope.inverse_frequencies = DefaultFrequencies(s.rope_theta, s.head_dim());
  return gqa;
}

GqaWeights ReadAttentionBank(const Shape& s, absl::string_view bank,
                             WeightReader weights) {
  return ReadGqaBank(AttentionShapeOf(s), bank, weights);
}

DenseFfnConfig ReadDense(const Shape& s, WeightReader weights) {
  if (s.activation == Activation::kSilu) {
    return ReadGatedFfn(s.dim, weights.FirstSize("gate_proj.weight"),
                        Bias::kAbsent, weights);
  }
  const std::int64_t ffn_dim = weights.FirstSize("up_proj.weight");
  DenseFfnConfig ffn;
  ffn.activation = s.activation;
  ffn.up = weights.Linear("up_proj", ffn_dim, s.dim, Bias::kAbsent);
  ffn.down = weights.Linear("down_proj", s.dim, ffn_dim, Bias::kAbsent);
  return ffn;
}

namespace {

// All experts in three tensors, each the transpose of a linear's weight.
void ReadPackedExperts(const Shape& s, WeightReader weights, MoeConfig* moe) {
  const std::int64_t ffn_dim = weights.SecondSize("down_w");
  const at::Tensor down =
      weights.Take("down_w", {s.num_experts, ffn_dim, s.dim});
  at::Tensor gate;
  if (s.activation == Activation::kSilu) {
    gate = weights.Take("gate_w", {s.num_experts, s.dim, ffn_dim});
  }
  const at::Tensor up = weights.Take("up_w", {s.num_experts, s.dim, ffn_dim});
  if (!weights.ok()) return;
  for (std::int64_t e = 0; e < s.num_experts; ++e) {
    const auto expert = [e](const at::Tensor& packed) {
      return LinearWeights{packed.select(0, e).transpose(0, 1).contiguous(),
                           at::Tensor()};
    };
    DenseFfnConfig ffn;
    ffn.activation = s.activation;
    if (gate.defined()) ffn.gate = expert(gate);
    ffn.up = expert(up);
    ffn.down = expert(down);
    moe->experts.push_back(std::move(ffn));
  }
}

MoeConfig ReadMoe(const Shape& s, WeightReader weights) {
  MoeConfig moe;
  moe.top_k = static_cast<int>(s.top_k);
  moe.scores = s.router;
  moe.capacity_factor = s.capacity_factor;
  moe.router =
      weights.Linear("router.gate", s.num_experts, s.dim, Bias::kAbsent);
  if (s.router == RouterScores::kSigmoid) {
    // Part of the scores, not only of the choice.
    moe.router.bias = weights.Take("router.expert_bias", {s.num_experts});
    weights.Ignore("router.expert_ema");
  }
  if (s.has_packed_experts) {
    ReadPackedExperts(s, weights, &moe);
  } else {
    for (std::int64_t e = 0; e < s.num_experts && weights.ok(); ++e) {
      moe.experts.push_back(
          ReadDense(s, weights.Under(absl::StrCat("experts.", e))));
    }
  }
  if (s.has_shared_expert) {
    moe.shared_experts.push_back(ReadDense(s, weights.Under("shared_expert")));
  }
  return moe;
}

}  // namespace

FfnConfig ReadFfn(const Shape& s, std::int64_t layer, WeightReader weights) {
  if (s.is_moe(layer)) return ReadMoe(s, weights);
  return ReadDense(s, weights);
}

LayerConfig ReadLayer(const Shape& s, std::int64_t layer,
                      WeightReader weights) {
  LayerConfig config;
  config.attention_norm = ReadNorm(s, "attention_norm", weights);
  config.attention = ReadAttention(s, "", weights.Under("attention"));
  config.ffn_norm = ReadNorm(s, "mlp_norm", weights);
  config.ffn = ReadFfn(s, layer, weights.Under("mlp"));
  return config;
}

}  // namespace stepd::checkpoint::kempner_forge
