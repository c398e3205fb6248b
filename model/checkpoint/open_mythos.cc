// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/open_mythos.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "ATen/Functions.h"
#include "ATen/TensorOperators.h"
#include "absl/strings/str_cat.h"
#include "model/checkpoint/config_reader.h"
#include "model/checkpoint/rope_parameters.h"
#include "model/checkpoint/token_fields.h"
#include "model/checkpoint/weight_reader.h"

namespace stepd::checkpoint {
namespace {

constexpr double kNormEps = 1e-6;
constexpr float kLoopTheta = 10000.0F;
constexpr IntRange kNumLoops = {1, 4096};

struct Shape {
  std::int64_t vocabulary = 0;
  std::int64_t dim = 0;
  std::int64_t num_heads = 0;
  std::int64_t num_kv_heads = 0;
  std::int64_t max_tokens = 0;
  std::int64_t max_loops = 0;
  std::int64_t num_loops = 0;
  std::int64_t num_prelude = 0;
  std::int64_t num_coda = 0;
  bool is_mla = false;
  std::int64_t kv_rank = 0;
  std::int64_t q_rank = 0;
  std::int64_t rope_dim = 0;
  std::int64_t nope_dim = 0;
  std::int64_t v_dim = 0;
  std::int64_t num_experts = 0;
  std::int64_t num_shared_experts = 0;
  std::int64_t top_k = 0;
  std::int64_t expert_dim = 0;
  double halt_threshold = 0;
  double rope_theta = 0;
  std::int64_t lora_rank = 0;

  std::int64_t head_dim() const { return dim / num_heads; }
};

void ReadAttentionShape(ConfigReader* model, Shape* shape) {
  shape->num_heads = model->OptionalInt("n_heads", 16);
  shape->num_kv_heads = model->OptionalInt("n_kv_heads", 4);
  const std::string kind = model->OptionalString("attn_type", "mla");
  if (kind != "mla" && kind != "gqa") {
    model->Fail("attn_type", "is neither \"mla\" nor \"gqa\"");
  }
  shape->is_mla = kind == "mla";
  shape->kv_rank = model->OptionalInt("kv_lora_rank", 512);
  shape->q_rank = model->OptionalInt("q_lora_rank", 1536);
  shape->rope_dim = model->OptionalInt("qk_rope_head_dim", 64);
  shape->nope_dim = model->OptionalInt("qk_nope_head_dim", 128);
  shape->v_dim = model->OptionalInt("v_head_dim", 128);
  shape->rope_theta = model->OptionalNumber("rope_theta", 500000.0, kPositive);
  if (shape->is_mla && shape->rope_dim % 2 != 0) {
    model->Fail("qk_rope_head_dim", "must be even");
  }
  if (shape->is_mla) return;
  if (shape->num_heads % shape->num_kv_heads != 0) {
    model->Fail("n_kv_heads",
                absl::StrCat("must divide n_heads, ", shape->num_heads));
  }
  if (shape->dim % shape->num_heads != 0 || shape->head_dim() % 2 != 0) {
    model->Fail("n_heads", "must divide dim into heads of even width");
  }
}

void ReadLoopShape(ConfigReader* model, Shape* shape) {
  shape->max_loops = model->OptionalInt("max_loop_iters", 16);
  shape->num_experts = model->OptionalInt("n_experts", 64);
  shape->num_shared_experts =
      model->OptionalInt("n_shared_experts", 2, {0, kMaxSize});
  shape->top_k = model->OptionalInt("n_experts_per_tok", 4);
  shape->expert_dim = model->OptionalInt("expert_dim", 512);
  shape->halt_threshold =
      model->OptionalNumber("act_threshold", 0.99, kPositive);
  shape->lora_rank = model->OptionalInt("lora_rank", 16);
  if (shape->top_k > shape->num_experts) {
    model->Fail("n_experts_per_tok",
                absl::StrCat("is above n_experts, ", shape->num_experts));
  }
}

Shape ReadShape(const ReadOptions& options, ConfigReader* config) {
  Shape shape;
  ConfigReader model = config->RequireObject("model");
  shape.vocabulary = model.OptionalInt("vocab_size", 32000);
  shape.dim = model.OptionalInt("dim", 2048, {8, kMaxSize});
  shape.max_tokens = model.OptionalInt("max_seq_len", 4096);
  shape.num_prelude = model.OptionalInt("prelude_layers", 2, {0, kMaxSize});
  shape.num_coda = model.OptionalInt("coda_layers", 2, {0, kMaxSize});
  ReadAttentionShape(&model, &shape);
  ReadLoopShape(&model, &shape);
  for (const char* unused : {"max_output_tokens", "dropout"}) {
    model.Ignore(unused);
  }
  model.RefuseOtherKeys();
  config->Ignore("family");
  shape.num_loops = config->OptionalInt("n_loops", shape.max_loops, kNumLoops);
  if (options.num_loops != 0) shape.num_loops = options.num_loops;
  if (shape.num_loops < kNumLoops.min || shape.num_loops > kNumLoops.max) {
    config->Fail("n_loops", absl::StrCat("of ", shape.num_loops,
                                         " was asked for; must be from ",
                                         kNumLoops.min, " to ", kNumLoops.max));
  }
  config->RefuseOtherKeys();
  return shape;
}

RopeConfig MakeRope(double theta, std::int64_t dim) {
  RopeConfig rope;
  rope.inverse_frequencies = DefaultFrequencies(theta, dim);
  rope.pairing = RopePairing::kInterleaved;
  return rope;
}

GqaConfig ReadGqa(const Shape& s, WeightReader weights) {
  const std::int64_t q_dim = s.num_heads * s.head_dim();
  const std::int64_t kv_dim = s.num_kv_heads * s.head_dim();
  GqaConfig gqa;
  gqa.num_heads = static_cast<int>(s.num_heads);
  gqa.num_kv_heads = static_cast<int>(s.num_kv_heads);
  gqa.head_dim = static_cast<int>(s.head_dim());
  GqaWeights& bank = gqa.banks.emplace_back();
  bank.q = weights.Linear("wq", q_dim, s.dim, Bias::kAbsent);
  bank.k = weights.Linear("wk", kv_dim, s.dim, Bias::kAbsent);
  bank.v = weights.Linear("wv", kv_dim, s.dim, Bias::kAbsent);
  bank.o = weights.Linear("wo", s.dim, q_dim, Bias::kAbsent);
  gqa.rope = MakeRope(s.rope_theta, s.head_dim());
  return gqa;
}

MlaConfig ReadMla(const Shape& s, WeightReader weights) {
  MlaConfig mla;
  mla.num_heads = static_cast<int>(s.num_heads);
  mla.latent_dim = static_cast<int>(s.kv_rank);
  mla.nope_dim = static_cast<int>(s.nope_dim);
  mla.rope_dim = static_cast<int>(s.rope_dim);
  mla.v_dim = static_cast<int>(s.v_dim);
  mla.q_down = weights.Linear("q_down", s.q_rank, s.dim, Bias::kAbsent);
  mla.q_norm = weights.Norm("q_norm", s.q_rank, kNormEps);
  mla.q_up_nope = weights.Linear("q_up_nope", s.num_heads * s.nope_dim,
                                 s.q_rank, Bias::kAbsent);
  mla.q_up_rope = weights.Linear("q_up_rope", s.num_heads * s.rope_dim,
                                 s.q_rank, Bias::kAbsent);
  mla.kv_down =
      weights.Linear("kv_down", s.kv_rank + s.rope_dim, s.dim, Bias::kAbsent);
  mla.kv_norm = weights.Norm("kv_norm", s.kv_rank, kNormEps);
  mla.kv_up = weights.Take("kv_up.weight",
                           {s.num_heads * (s.nope_dim + s.v_dim), s.kv_rank});
  mla.o = weights.Linear("wo", s.dim, s.num_heads * s.v_dim, Bias::kAbsent);
  mla.rope = MakeRope(s.rope_theta, s.rope_dim);
  return mla;
}

DenseFfnConfig ReadSwiglu(std::int64_t dim, std::int64_t ffn_dim,
                          WeightReader weights) {
  DenseFfnConfig ffn;
  ffn.gate = weights.Linear("gate", ffn_dim, dim, Bias::kAbsent);
  ffn.up = weights.Linear("up", ffn_dim, dim, Bias::kAbsent);
  ffn.down = weights.Linear("down", dim, ffn_dim, Bias::kAbsent);
  return ffn;
}

MoeConfig ReadMoe(const Shape& s, WeightReader weights) {
  MoeConfig moe;
  moe.top_k = static_cast<int>(s.top_k);
  moe.router = weights.Linear("router", s.num_experts, s.dim, Bias::kAbsent);
  moe.selection_bias = weights.Take("router_bias", {s.num_experts});
  for (std::int64_t e = 0; e < s.num_experts && weights.ok(); ++e) {
    moe.experts.push_back(
        ReadSwiglu(s.dim, s.expert_dim,
                   weights.Under(absl::StrCat("routed_experts.", e))));
  }
  for (std::int64_t e = 0; e < s.num_shared_experts && weights.ok(); ++e) {
    moe.shared_experts.push_back(
        ReadSwiglu(s.dim, s.expert_dim * s.top_k,
                   weights.Under(absl::StrCat("shared_experts.", e))));
  }
  return moe;
}

LayerConfig ReadLayer(const Shape& s, WeightReader weights) {
  LayerConfig layer;
  layer.attention_norm = weights.Norm("attn_norm", s.dim, kNormEps);
  if (s.is_mla) {
    layer.attention = ReadMla(s, weights.Under("attn"));
  } else {
    layer.attention = ReadGqa(s, weights.Under("attn"));
  }
  layer.ffn_norm = weights.Norm("ffn_norm", s.dim, kNormEps);
  return layer;
}

StageConfig ReadDenseStage(const Shape& s, std::int64_t num_layers,
                           absl::string_view name, WeightReader weights) {
  StageConfig stage;
  for (std::int64_t i = 0; i < num_layers && weights.ok(); ++i) {
    const WeightReader block = weights.Under(absl::StrCat(name, ".", i));
    LayerConfig layer = ReadLayer(s, block);
    layer.ffn = ReadSwiglu(s.dim, s.dim * 4 / 3, block.Under("ffn"));
    stage.layers.push_back(std::move(layer));
  }
  return stage;
}

// Row t: all sines, then all cosines, of t at loop-index frequencies; an odd
// width loses the last cosine.
at::Tensor MakeLoopEmbeddings(std::int64_t num_loops, std::int64_t columns) {
  at::Tensor table = at::zeros({num_loops, columns}, at::kFloat);
  const std::int64_t half = (columns + 1) / 2;
  float* row = table.data_ptr<float>();
  for (std::int64_t t = 0; t < num_loops; ++t, row += columns) {
    for (std::int64_t j = 0; j < half; ++j) {
      const float exponent =
          static_cast<float>(2 * j) / static_cast<float>(columns);
      const float angle =
          static_cast<float>(t) * (1.0F / std::pow(kLoopTheta, exponent));
      row[j] = std::sin(angle);
      if (half + j < columns) row[half + j] = std::cos(angle);
    }
  }
  return table;
}

RecurrentLoopConfig ReadLoop(const Shape& s, WeightReader weights) {
  RecurrentLoopConfig loop;
  loop.num_loops = static_cast<int>(s.num_loops);
  loop.loop_embeddings = MakeLoopEmbeddings(s.num_loops, s.dim / 8);
  loop.norm = weights.Norm("norm", s.dim, kNormEps);
  const at::Tensor log_a = weights.Take("injection.log_A", {s.dim});
  const at::Tensor log_dt = weights.Take("injection.log_dt", {1});
  loop.injection = weights.Take("injection.B", {s.dim});
  loop.lora_down =
      weights.Linear("lora.down", s.lora_rank, s.dim, Bias::kAbsent);
  loop.lora_scale =
      weights.Take("lora.scale.weight", {s.max_loops, s.lora_rank});
  loop.lora_up = weights.Take("lora.B", {s.lora_rank, s.dim});
  loop.halt = weights.Linear("act.halt", 1, s.dim, Bias::kPresent);
  loop.halt_threshold = static_cast<float>(s.halt_threshold);
  if (weights.ok()) {
    const at::Tensor rate =
        at::clamp(log_dt.to(at::kFloat) + log_a.to(at::kFloat), -20.0, 20.0);
    loop.decay = at::exp(-at::exp(rate));
  }
  return loop;
}

StageConfig ReadRecurrentStage(const Shape& s, WeightReader weights) {
  StageConfig stage;
  const WeightReader block = weights.Under("block");
  LayerConfig layer = ReadLayer(s, block);
  layer.ffn = ReadMoe(s, block.Under("ffn"));
  stage.layers.push_back(std::move(layer));
  stage.loop = ReadLoop(s, weights);
  return stage;
}

absl::StatusOr<PolicyDescription> ReadOpenMythos(const ConfigFile& config,
                                                 TensorSource* source) {
  absl::Status error;
  ConfigReader reader(config.json, config.path, &error);
  const Shape s = ReadShape(config.options, &reader);
  if (!error.ok()) return error;

  // Rotation tables that a whole state dict carries: computed anew.
  source->Ignore("freqs_cis");
  source->Ignore("freqs_cis_mla");
  WeightReader weights(source, &error);
  PolicyDescription policy;
  policy.summary = absl::StrCat("OpenMythos, ", s.is_mla ? "MLA" : "GQA", ", ",
                                s.num_prelude, "+", s.num_loops, "x1+",
                                s.num_coda, " layers, width ", s.dim);
  policy.max_tokens = s.max_tokens;
  policy.decoder.hidden_dim = s.dim;
  policy.decoder.stages = {ReadDenseStage(s, s.num_prelude, "prelude", weights),
                           ReadRecurrentStage(s, weights.Under("recurrent")),
                           ReadDenseStage(s, s.num_coda, "coda", weights)};
  policy.decoder.final_norm = weights.Norm("norm", s.dim, kNormEps);
  const at::Tensor embedding =
      weights.Take("embed.weight", {s.vocabulary, s.dim});
  // Tied: the head is the embedding, whether the file has a copy or not.
  source->Ignore("head.weight");
  if (!error.ok()) return error;
  AddTokenFields(embedding, embedding, &policy);
  return policy;
}

bool IsOpenMythos(const nlohmann::json& config) {
  const auto family = config.find("family");
  return family != config.end() && *family == "open_mythos";
}

}  // namespace

const Format kOpenMythos = {"OpenMythos", "\"family\": \"open_mythos\"",
                            IsOpenMythos, ReadOpenMythos, /*has_loops=*/true};

}  // namespace stepd::checkpoint
