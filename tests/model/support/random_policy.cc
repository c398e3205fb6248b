// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/model/support/random_policy.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <random>
#include <utility>
#include <variant>

#include "ATen/Functions.h"
#include "ATen/TensorOperators.h"
#include "model/step.h"

namespace stepd {
namespace {

constexpr std::int64_t kNumActions = 5;
constexpr int kNumFields = 3;

LinearWeights RandomLinear(std::int64_t out, std::int64_t in, bool has_bias) {
  return {at::randn({out, in}) / std::sqrt(static_cast<double>(in)),
          has_bias ? at::randn({out}) * 0.1 : at::Tensor()};
}

NormConfig RandomNorm(std::int64_t dim) {
  return {at::rand({dim}) + 0.5, 1e-5F};
}

RopeConfig MakeRope(int head_dim) {
  RopeConfig rope;
  for (int i = 0; i < head_dim / 2; ++i) {
    rope.inverse_frequencies.push_back(
        std::pow(10000.0F,
                 -2.0F * static_cast<float>(i) / static_cast<float>(head_dim)));
  }
  return rope;
}

GqaWeights RandomGqaWeights(const RandomPolicyShape& shape) {
  const std::int64_t d = shape.hidden_dim;
  const std::int64_t q = std::int64_t{shape.num_heads} * shape.head_dim;
  const std::int64_t kv = std::int64_t{shape.num_kv_heads} * shape.head_dim;
  GqaWeights weights;
  weights.q = RandomLinear(q, d, shape.has_bias);
  weights.k = RandomLinear(kv, d, shape.has_bias);
  weights.v = RandomLinear(kv, d, shape.has_bias);
  weights.o = RandomLinear(d, q, shape.has_bias);
  if (shape.has_qk_norm) {
    weights.q_norm = RandomNorm(shape.head_dim);
    weights.k_norm = RandomNorm(shape.head_dim);
  }
  return weights;
}

DenseFfnConfig RandomFfn(const RandomPolicyShape& shape) {
  DenseFfnConfig ffn;
  ffn.gate = RandomLinear(shape.ffn_dim, shape.hidden_dim, false);
  ffn.up = RandomLinear(shape.ffn_dim, shape.hidden_dim, false);
  ffn.down = RandomLinear(shape.hidden_dim, shape.ffn_dim, false);
  return ffn;
}

MoeConfig RandomMoe(const RandomPolicyShape& shape) {
  constexpr int kNumExperts = 5;
  MoeConfig moe;
  moe.router = RandomLinear(kNumExperts, shape.hidden_dim, false);
  moe.selection_bias = at::randn({kNumExperts}) * 0.1;
  moe.top_k = 2;
  for (int i = 0; i < kNumExperts; ++i) {
    moe.experts.push_back(RandomFfn(shape));
  }
  moe.shared_experts.push_back(RandomFfn(shape));
  return moe;
}

GqaConfig RandomGqa(const RandomPolicyShape& shape) {
  GqaConfig attention;
  attention.num_heads = shape.num_heads;
  attention.num_kv_heads = shape.num_kv_heads;
  attention.head_dim = shape.head_dim;
  for (int i = 0; i < shape.num_banks; ++i) {
    attention.banks.push_back(RandomGqaWeights(shape));
  }
  if (shape.has_rope) attention.rope = MakeRope(shape.head_dim);
  attention.window_left = shape.window_left;
  return attention;
}

MlaConfig RandomMla(const RandomPolicyShape& shape) {
  constexpr std::int64_t kQueryRank = 14;
  const std::int64_t d = shape.hidden_dim;
  const std::int64_t heads = shape.num_heads;
  MlaConfig mla;
  mla.num_heads = shape.num_heads;
  mla.latent_dim = 12;
  mla.nope_dim = 6;
  mla.rope_dim = shape.head_dim;
  mla.v_dim = 10;
  mla.q_down = RandomLinear(kQueryRank, d, false);
  mla.q_norm = RandomNorm(kQueryRank);
  mla.q_up_nope = RandomLinear(heads * mla.nope_dim, kQueryRank, false);
  mla.q_up_rope = RandomLinear(heads * mla.rope_dim, kQueryRank, false);
  mla.kv_down = RandomLinear(mla.latent_dim + mla.rope_dim, d, false);
  mla.kv_norm = RandomNorm(mla.latent_dim);
  mla.kv_up =
      RandomLinear(heads * (mla.nope_dim + mla.v_dim), mla.latent_dim, false)
          .weight;
  mla.o = RandomLinear(d, heads * mla.v_dim, false);
  mla.rope = MakeRope(mla.rope_dim);
  return mla;
}

CrossAttentionConfig RandomCrossAttention(const RandomPolicyShape& shape) {
  const std::int64_t d = shape.hidden_dim;
  const std::int64_t q = std::int64_t{shape.num_heads} * shape.head_dim;
  const std::int64_t kv = std::int64_t{shape.num_kv_heads} * shape.head_dim;
  CrossAttentionConfig cross;
  cross.num_heads = shape.num_heads;
  cross.num_kv_heads = shape.num_kv_heads;
  cross.head_dim = shape.head_dim;
  for (int bank = 0; bank < shape.num_banks; ++bank) {
    cross.q.push_back(RandomLinear(q, d, false));
    cross.o.push_back(RandomLinear(d, q, false));
  }
  cross.k = RandomLinear(kv, d, false);
  cross.v = RandomLinear(kv, d, false);
  if (shape.has_source_norm) {
    cross.source_norm = RandomNorm(d);
    cross.rope = MakeRope(shape.head_dim);
  }
  return cross;
}

AttentionConfig RandomAttention(const RandomPolicyShape& shape,
                                AttentionKind kind) {
  switch (kind) {
    case AttentionKind::kGqa:
      return RandomGqa(shape);
    case AttentionKind::kMla:
      return RandomMla(shape);
    case AttentionKind::kLinear:
      return LinearMixer{
          RandomLinear(shape.hidden_dim, shape.hidden_dim, false)};
    case AttentionKind::kNoOp:
      return NoOp();
    case AttentionKind::kCross:
      return RandomCrossAttention(shape);
  }
  std::abort();
}

FfnConfig RandomFfnOfKind(const RandomPolicyShape& shape, FfnKind kind) {
  switch (kind) {
    case FfnKind::kDense:
    case FfnKind::kMoe:
      break;
    case FfnKind::kLinear:
      return LinearMixer{
          RandomLinear(shape.hidden_dim, shape.hidden_dim, false)};
    case FfnKind::kNoOp:
      return NoOp();
  }
  const bool is_moe = kind == FfnKind::kMoe;
  if (shape.num_banks == 1) {
    return is_moe ? FfnConfig(RandomMoe(shape)) : RandomFfn(shape);
  }
  BankedFfnConfig ffn;
  for (int i = 0; i < shape.num_banks; ++i) {
    if (is_moe) {
      ffn.banks.emplace_back(RandomMoe(shape));
    } else {
      ffn.banks.emplace_back(RandomFfn(shape));
    }
  }
  return ffn;
}

// Layer number `i`.
void AddModulation(const RandomPolicyShape& shape, LayerConfig* layer) {
  for (NormConfig* norm : {&layer->attention_norm, &layer->ffn_norm}) {
    norm->weight = at::Tensor();
    norm->kind = NormKind::kLayer;
  }
  layer->modulation.emplace();
  layer->modulation->dim = shape.hidden_dim;
  std::int64_t size = 6 * shape.hidden_dim;
  auto* cross = std::get_if<CrossAttentionConfig>(&layer->attention);
  if (cross != nullptr && cross->source_norm.has_value()) {
    layer->modulation->source_dim = shape.hidden_dim;
    size += 2 * shape.hidden_dim;
    cross->source_norm->kind = NormKind::kLayer;
    cross->source_norm->weight = at::Tensor();
  }
  layer->modulation->project = RandomLinear(size, shape.condition_dim, true);
}

LayerConfig RandomLayer(const RandomPolicyShape& shape, int i) {
  const auto number = static_cast<std::size_t>(i);
  LayerConfig layer;
  layer.attention =
      RandomAttention(shape, shape.attention[number % shape.attention.size()]);
  layer.ffn = RandomFfnOfKind(shape, shape.ffn[number % shape.ffn.size()]);
  const auto norm = [&] {
    NormConfig norm = RandomNorm(shape.hidden_dim);
    if (shape.has_banked_norms) {
      norm.weight = at::rand({shape.num_banks, shape.hidden_dim}) + 0.5;
    }
    return norm;
  };
  // A no-op has no norm.
  if (!std::holds_alternative<NoOp>(layer.attention)) {
    layer.attention_norm = norm();
  }
  if (!std::holds_alternative<NoOp>(layer.ffn)) layer.ffn_norm = norm();
  if (shape.condition_dim > 0) AddModulation(shape, &layer);
  return layer;
}

RecurrentLoopConfig RandomLoop(const RandomPolicyShape& shape) {
  constexpr std::int64_t kLoraRank = 3;
  const std::int64_t d = shape.hidden_dim;
  RecurrentLoopConfig loop;
  loop.num_loops = shape.num_loops;
  loop.loop_embeddings = at::randn({shape.num_loops, d / 8});
  loop.norm = RandomNorm(d);
  loop.decay = at::rand({d});
  loop.injection = at::randn({d}) * 0.1;
  loop.lora_down = RandomLinear(kLoraRank, d, false);
  // One row less than there are loops: the last one is used twice.
  loop.lora_scale = at::randn({shape.num_loops - 1, kLoraRank});
  loop.lora_up = at::randn({kLoraRank, d}) * 0.1;
  loop.halt = RandomLinear(1, d, true);
  // Some tokens halt early, some never.
  loop.halt_threshold = 0.9F;
  return loop;
}

std::vector<StageConfig> RandomStages(const RandomPolicyShape& shape) {
  StageConfig stage;
  for (int i = 0; i < shape.num_layers; ++i) {
    stage.layers.push_back(RandomLayer(shape, i));
  }
  if (shape.num_loops == 0) return {std::move(stage)};
  stage.loop = RandomLoop(shape);
  std::vector<StageConfig> stages(3);
  stages[0].layers.push_back(RandomLayer(shape, 0));
  stages[1] = std::move(stage);
  stages[2].layers.push_back(RandomLayer(shape, 0));
  return stages;
}

EmbedderConfig RandomEmbedder(const RandomPolicyShape& shape) {
  const std::int64_t width = shape.hidden_dim * shape.tokens_per_field;
  EmbedderConfig embedder;
  embedder.hidden_dim = shape.hidden_dim;
  embedder.layout = shape.layout;
  embedder.min_content_tokens =
      shape.tokens_per_field *
      (shape.layout == FieldLayout::kConcat ? kNumFields : 1);
  const auto add = [&](int field, auto content) {
    embedder.fields.push_back({field, shape.tokens_per_field,
                               std::move(content), at::randn({width}) * 0.1});
  };
  add(0, TableEmbedding{at::randn({kNumActions, width})});
  add(1,
      FourierEmbedding{at::randn({3, width}) * 0.5, at::randn({3, width}) * 2.0,
                       at::rand({3, width}) * 6.0});
  add(2, ProjectionEmbedding{at::randn({4, width}), at::randn({width}),
                             2.0F / 255.0F, -1.0F});
  if (shape.num_compute_tokens > 0) {
    embedder.compute_tokens =
        at::randn({shape.num_compute_tokens, shape.hidden_dim});
  }
  return embedder;
}

EmbedderConfig TypedTokensEmbedder(const RandomPolicyShape& shape) {
  EmbedderConfig embedder;
  embedder.hidden_dim = shape.hidden_dim;
  embedder.num_banks = shape.num_banks;
  FieldEmbedding tokens;
  tokens.content = GivenEmbedding();
  tokens.bank_field = 1;
  embedder.fields.push_back(std::move(tokens));
  return embedder;
}

std::vector<FieldSpec> TypedTokensFields(const RandomPolicyShape& shape) {
  std::vector<FieldSpec> fields(2);
  fields[0].name = "tokens";
  fields[0].shape = {-1, shape.hidden_dim};
  fields[1].name = "token_types";
  fields[1].dtype = DType::kInt64;
  fields[1].shape = {-1};
  fields[1].min = 0;
  fields[1].max = shape.num_banks - 1;
  fields[1].same_length_as = "tokens";
  return fields;
}

std::vector<FieldSpec> MakeFields() {
  std::vector<FieldSpec> fields(3);
  fields[0].name = "action";
  fields[0].dtype = DType::kInt64;
  fields[0].min = 0;
  fields[0].max = kNumActions - 1;
  fields[1].name = "obs";
  fields[1].shape = {3};
  fields[2].name = "image";
  fields[2].shape = {4};
  return fields;
}

OutputHeadConfig RandomHead(const std::string& name, std::int64_t hidden_dim,
                            std::int64_t out) {
  OutputHeadConfig head;
  head.name = name;
  head.shape = {out};
  head.norm = RandomNorm(hidden_dim);
  head.layers = {RandomLinear(2 * 24, hidden_dim, true),
                 RandomLinear(out, 24, true)};
  return head;
}

void AddScene(const RandomPolicyShape& shape, PolicyDescription* policy) {
  constexpr std::int64_t kNumRows = 5;
  constexpr std::int64_t kInDim = 7;
  constexpr std::int64_t kInnerDim = 11;
  const bool has_source =
      std::find(shape.attention.begin(), shape.attention.end(),
                AttentionKind::kCross) != shape.attention.end();
  if (!has_source && !shape.has_prefix) return;
  FieldSpec scene;
  scene.name = "scene";
  scene.shape = {kNumRows, kInDim};
  policy->session_fields = {scene};
  SessionRowsConfig rows;
  rows.layers = {RandomLinear(kInnerDim, kInDim, true),
                 RandomLinear(shape.hidden_dim, kInnerDim, true)};
  if (shape.has_prefix) {
    PrefixConfig& prefix = policy->prefix.emplace();
    prefix.rows = rows;
    prefix.tokens.bank = shape.num_banks - 1;
    prefix.tokens.has_own_positions = shape.has_own_positions;
  }
  if (!has_source) return;
  FieldSpec mask;
  mask.name = "mask";
  mask.dtype = DType::kBool;
  mask.shape = {kNumRows};
  mask.required = false;
  policy->session_fields.push_back(mask);
  rows.mask_field = 1;
  policy->source = rows;
}

void AddCondition(const RandomPolicyShape& shape, PolicyDescription* policy) {
  if (shape.condition_dim == 0) return;
  policy->condition.emplace();
  policy->condition->field = static_cast<int>(policy->session_fields.size());
  FieldSpec condition;
  condition.name = "condition";
  condition.shape = {shape.condition_dim};
  policy->session_fields.push_back(condition);
}

}  // namespace

RandomPolicyShape MakeRandomShape(int seed) {
  std::mt19937 generator(static_cast<unsigned>(seed));
  const auto pick = [&generator](int min, int max) {
    return std::uniform_int_distribution<int>(min, max)(generator);
  };
  RandomPolicyShape shape;
  shape.name = "random_" + std::to_string(seed);
  shape.hidden_dim = pick(8, 70);
  shape.num_layers = pick(1, 4);
  shape.num_kv_heads = pick(1, 3);
  shape.num_heads = shape.num_kv_heads * pick(1, 3);
  shape.head_dim = 2 * pick(1, 20);
  shape.ffn_dim = pick(1, 90);
  shape.has_qk_norm = pick(0, 1) == 1;
  shape.has_bias = pick(0, 1) == 1;
  shape.window_left = pick(0, 2) == 0 ? pick(0, 9) : -1;
  shape.layout = pick(0, 1) == 1 ? FieldLayout::kConcat : FieldLayout::kSum;
  shape.tokens_per_field = pick(1, 2);
  shape.num_compute_tokens = pick(0, 2);
  shape.num_loops = pick(0, 1) == 1 ? pick(2, 4) : 0;
  shape.attention.clear();
  shape.ffn.clear();
  for (int i = 0; i < 4; ++i) {
    shape.attention.push_back(static_cast<AttentionKind>(pick(0, 3)));
    shape.ffn.push_back(static_cast<FfnKind>(pick(0, 3)));
  }
  return shape;
}

PolicyDescription MakeRandomPolicy(const RandomPolicyShape& shape, int seed) {
  at::manual_seed(static_cast<std::uint64_t>(seed));
  PolicyDescription policy;
  policy.summary = "random";
  const bool is_typed = shape.num_banks > 1;
  policy.fields = is_typed ? TypedTokensFields(shape) : MakeFields();
  policy.embedder =
      is_typed ? TypedTokensEmbedder(shape) : RandomEmbedder(shape);
  policy.decoder.hidden_dim = shape.hidden_dim;
  policy.decoder.stages = RandomStages(shape);
  AddScene(shape, &policy);
  AddCondition(shape, &policy);
  policy.heads = {RandomHead("q", shape.hidden_dim, kNumActions),
                  RandomHead("value", shape.hidden_dim, 1)};
  policy.action = {"q", ScoreRule::kOutput, kNumActions};
  return policy;
}

std::vector<std::string> MakeRandomSteps(const std::vector<FieldSpec>& fields,
                                         int count, int seed) {
  std::mt19937 generator(static_cast<unsigned>(seed));
  std::normal_distribution<float> normal;
  const StepLayout layout(fields);
  std::vector<std::string> steps(static_cast<std::size_t>(count));
  for (std::string& step : steps) {
    std::vector<std::string> storage(fields.size());
    std::vector<FieldValue> values;
    const std::int64_t entries =
        std::uniform_int_distribution<std::int64_t>(1, 5)(generator);
    for (std::size_t f = 0; f < fields.size(); ++f) {
      const FieldSpec& field = fields[f];
      const std::int64_t count =
          field.num_elements() * (field.is_ragged() ? entries : 1);
      for (std::int64_t i = 0; i < count; ++i) {
        if (field.dtype == DType::kInt64) {
          const std::int64_t value =
              std::uniform_int_distribution<std::int64_t>(
                  field.min.value_or(0), field.max.value_or(1))(generator);
          storage[f].append(reinterpret_cast<const char*>(&value),
                            sizeof(value));
        } else if (field.dtype == DType::kBool) {
          // Never all false.
          storage[f].push_back(i == 0 || generator() % 2 == 0 ? '\1' : '\0');
        } else {
          const float value = normal(generator);
          storage[f].append(reinterpret_cast<const char*>(&value),
                            sizeof(value));
        }
      }
      values.push_back({storage[f].data(), count});
    }
    layout.Encode(values, &step);
  }
  return steps;
}

}  // namespace stepd
