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

LayerConfig RandomLayer(const RandomPolicyShape& shape) {
  const std::int64_t d = shape.hidden_dim;
  GqaConfig attention;
  attention.num_heads = shape.num_heads;
  attention.num_kv_heads = shape.num_kv_heads;
  attention.head_dim = shape.head_dim;
  const std::int64_t q = std::int64_t{shape.num_heads} * shape.head_dim;
  const std::int64_t kv = std::int64_t{shape.num_kv_heads} * shape.head_dim;
  attention.q = RandomLinear(q, d, shape.has_bias);
  attention.k = RandomLinear(kv, d, shape.has_bias);
  attention.v = RandomLinear(kv, d, shape.has_bias);
  attention.o = RandomLinear(d, q, shape.has_bias);
  if (shape.has_qk_norm) {
    attention.q_norm = RandomNorm(shape.head_dim);
    attention.k_norm = RandomNorm(shape.head_dim);
  }
  attention.rope = MakeRope(shape.head_dim);
  attention.window_left = shape.window_left;
  DenseFfnConfig ffn;
  ffn.gate = RandomLinear(shape.ffn_dim, d, false);
  ffn.up = RandomLinear(shape.ffn_dim, d, false);
  ffn.down = RandomLinear(d, shape.ffn_dim, false);
  return {RandomNorm(d), std::move(attention), RandomNorm(d), std::move(ffn)};
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
  policy.fields = MakeFields();
  policy.embedder = RandomEmbedder(shape);
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
    for (std::size_t f = 0; f < fields.size(); ++f) {
      const FieldSpec& field = fields[f];
      for (std::int64_t i = 0; i < field.num_elements(); ++i) {
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
      values.push_back({storage[f].data(), field.num_elements()});
    }
    layout.Encode(values, &step);
  }
  return steps;
}

}  // namespace stepd
