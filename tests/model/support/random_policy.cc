// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/model/support/random_policy.h"

#include <cmath>
#include <random>
#include <utility>

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

LayerConfig RandomLayer(const RandomPolicyShape& shape) {
  GqaConfig attention;
  attention.num_heads = shape.num_heads;
  attention.num_kv_heads = shape.num_kv_heads;
  attention.head_dim = shape.head_dim;
  for (int i = 0; i < shape.num_banks; ++i) {
    attention.banks.push_back(RandomGqaWeights(shape));
  }
  if (shape.has_rope) attention.rope = MakeRope(shape.head_dim);
  attention.window_left = shape.window_left;
  LayerConfig layer;
  layer.attention_norm = RandomNorm(shape.hidden_dim);
  layer.attention = std::move(attention);
  layer.ffn_norm = RandomNorm(shape.hidden_dim);
  if (shape.num_banks == 1) {
    layer.ffn = RandomFfn(shape);
    return layer;
  }
  BankedFfnConfig ffn;
  for (int i = 0; i < shape.num_banks; ++i) {
    ffn.banks.push_back(RandomFfn(shape));
  }
  layer.ffn = std::move(ffn);
  return layer;
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

}  // namespace

PolicyDescription MakeRandomPolicy(const RandomPolicyShape& shape, int seed) {
  at::manual_seed(static_cast<std::uint64_t>(seed));
  PolicyDescription policy;
  policy.summary = "random";
  const bool is_typed = shape.num_banks > 1;
  policy.fields = is_typed ? TypedTokensFields(shape) : MakeFields();
  policy.embedder =
      is_typed ? TypedTokensEmbedder(shape) : RandomEmbedder(shape);
  policy.decoder.hidden_dim = shape.hidden_dim;
  StageConfig stage;
  for (int i = 0; i < shape.num_layers; ++i) {
    stage.layers.push_back(RandomLayer(shape));
  }
  policy.decoder.stages.push_back(std::move(stage));
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
