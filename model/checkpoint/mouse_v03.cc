// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/mouse_v03.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "model/checkpoint/config_reader.h"
#include "model/checkpoint/mouse_backbone.h"
#include "model/checkpoint/mouse_heads.h"
#include "model/checkpoint/weight_reader.h"
#include "model/embedders/embedder_config.h"
#include "model/heads/head_config.h"
#include "model/policy_spec.h"

namespace stepd::checkpoint {
namespace {

using nlohmann::json;

// --- fields ------------------------------------------------------------------

enum class FieldKind { kIndex, kFourier, kPixels };

struct FieldRule {
  const char* name;
  const char* include_key;
  const char* size_key;  // nullptr: of fixed size
  std::int64_t fixed_size;
  FieldKind kind;
  std::int64_t type;  // row of the type table
};

// In the order in which their tokens are laid out.
constexpr FieldRule kFieldRules[] = {
    {"time", "include_time_token", "max_num_time_steps", 0, FieldKind::kIndex,
     6},
    {"action", "include_action_token", "max_num_actions", 0, FieldKind::kIndex,
     1},
    {"obs_continuous", "include_obs_continuous", "max_num_obs_continuous", 0,
     FieldKind::kFourier, 5},
    {"obs_discrete", "include_obs_discrete", "max_num_obs_discrete", 0,
     FieldKind::kIndex, 7},
    {"obs_image", "include_obs_image", "max_num_obs_image", 0,
     FieldKind::kPixels, 4},
    {"reward", "include_reward_token", nullptr, 1, FieldKind::kFourier, 2},
    {"done", "include_done_token", nullptr, 3, FieldKind::kIndex, 3},
};
constexpr std::int64_t kNumTypes = 8;

struct Field {
  const FieldRule* rule = nullptr;
  std::int64_t size = 0;  // of the table, or numbers per step
};

// `embedding_kwargs`.
struct EmbeddingShape {
  std::vector<Field> fields;
  FieldLayout layout = FieldLayout::kSum;
  std::int64_t tokens_per_field = 0;
  std::int64_t num_compute_tokens = 0;
  std::int64_t num_actions = 0;
  bool has_type_rows = false;
};

// The initialisation of the weights; it says nothing about them any more, but
// the original refuses to load what it could not have initialised.
void CheckInitialisation(const EmbeddingShape& shape, ConfigReader* kwargs) {
  kwargs->OptionalNumber("std", 0.02);
  double lowest = kwargs->OptionalNumber("fourier_in_min", -1.0);
  const double highest = kwargs->OptionalNumber("fourier_in_max", 1.0);
  for (const Field& field : shape.fields) {
    if (field.rule->kind != FieldKind::kFourier) continue;
    if (lowest <= 0) kwargs->Fail("fourier_in_min", "must be above 0");
    if (highest <= lowest) {
      kwargs->Fail("fourier_in_max", "must be above fourier_in_min");
    }
  }
}

EmbeddingShape ReadEmbeddingShape(ConfigReader kwargs) {
  EmbeddingShape shape;
  shape.num_actions = kwargs.RequireInt("max_num_actions");
  shape.tokens_per_field = kwargs.RequireInt("token_data_len");
  shape.num_compute_tokens =
      kwargs.OptionalInt("num_compute_tokens", 0, {0, kMaxSize});
  shape.has_type_rows = kwargs.RequireBool("include_type_token");
  for (const FieldRule& rule : kFieldRules) {
    const bool is_included = kwargs.RequireBool(rule.include_key);
    const std::int64_t size =
        rule.size_key == nullptr
            ? rule.fixed_size
            : kwargs.RequireInt(rule.size_key, {is_included ? 1 : 0, kMaxSize});
    if (is_included) shape.fields.push_back({&rule, size});
  }
  if (kwargs.OptionalBool("concat_modalities", false)) {
    shape.layout = FieldLayout::kConcat;
    if (shape.fields.empty()) {
      kwargs.Fail("concat_modalities", "is true, but no field is included");
    }
  }
  CheckInitialisation(shape, &kwargs);
  kwargs.Ignore("obs_continuous_encoder");
  kwargs.RefuseOtherKeys();
  return shape;
}

FieldSpec ToFieldSpec(const Field& field) {
  FieldSpec spec;
  spec.name = field.rule->name;
  if (field.rule->kind == FieldKind::kIndex) {
    spec.dtype = DType::kInt64;
    spec.min = 0;
    spec.max = field.size - 1;
  } else if (field.rule->size_key != nullptr) {
    spec.shape = {field.size};
  }
  return spec;
}

// --- embedder ----------------------------------------------------------------

TableEmbedding ReadTable(const Field& field, std::int64_t width,
                         WeightReader weights) {
  return {weights.Take("embed.weight", {field.size, width})};
}

FourierEmbedding ReadFourier(const Field& field, std::int64_t width,
                             WeightReader weights) {
  return {weights.Take("rff.weight", {field.size, width}),
          weights.Take("rff.freqs", {field.size, width}),
          weights.Take("rff.phases", {field.size, width})};
}

// Pixels 0..255 become -1..1; every pixel has a bias of its own.
ProjectionEmbedding ReadPixels(const Field& field, std::int64_t width,
                               WeightReader weights) {
  ProjectionEmbedding pixels;
  pixels.weight = weights.Take("projs.weight", {field.size, width, 1});
  pixels.bias = weights.Take("projs.bias", {field.size, width});
  pixels.scale = 2.0F / 255.0F;
  pixels.offset = -1.0F;
  if (weights.ok()) {
    pixels.weight = pixels.weight.squeeze(2);
    pixels.bias = pixels.bias.to(at::kFloat).sum(0);
  }
  return pixels;
}

FieldEmbedding ReadField(const Field& field, std::int64_t width,
                         WeightReader weights) {
  FieldEmbedding embedding;
  switch (field.rule->kind) {
    case FieldKind::kIndex:
      embedding.content = ReadTable(field, width, weights);
      break;
    case FieldKind::kFourier:
      embedding.content = ReadFourier(field, width, weights);
      break;
    case FieldKind::kPixels:
      embedding.content = ReadPixels(field, width, weights);
      break;
  }
  return embedding;
}

EmbedderConfig ReadEmbedder(const EmbeddingShape& shape,
                            std::int64_t hidden_dim, WeightReader weights) {
  const std::int64_t width = shape.tokens_per_field * hidden_dim;
  EmbedderConfig embedder;
  embedder.hidden_dim = hidden_dim;
  embedder.layout = shape.layout;
  // Saved even where no type row is added.
  const at::Tensor types =
      weights.Take("type_embedder.embed.weight", {kNumTypes, width});
  for (std::size_t i = 0; i < shape.fields.size() && weights.ok(); ++i) {
    const Field& field = shape.fields[i];
    FieldEmbedding embedding =
        ReadField(field, width,
                  weights.Under(absl::StrCat(field.rule->name, "_embedder")));
    embedding.field = static_cast<int>(i);
    embedding.num_tokens = static_cast<int>(shape.tokens_per_field);
    if (shape.has_type_rows) {
      embedding.type_row = types.select(0, field.rule->type);
    }
    embedder.fields.push_back(std::move(embedding));
  }
  const std::size_t num_blocks =
      shape.layout == FieldLayout::kSum ? 1 : shape.fields.size();
  embedder.min_content_tokens =
      static_cast<int>(shape.tokens_per_field * num_blocks);
  if (shape.num_compute_tokens > 0) {
    embedder.compute_tokens =
        weights.Take("compute_embed", {shape.num_compute_tokens, hidden_dim});
  }
  return embedder;
}

// --- heads -------------------------------------------------------------------

struct HeadRule {
  const char* name;
  bool has_twin;  // online and target networks
  ScoreRule score;
};

// In the order of the outputs.
constexpr HeadRule kHeadRules[] = {
    {"sp", false, ScoreRule::kOutput},
    {"dqn", true, ScoreRule::kOutput},
    {"sv", false, ScoreRule::kOutput},
    {"vec_dqn", true, ScoreRule::kVectorAngles},
};

// The head that acts when the config names none: the first one there is.
constexpr absl::string_view kActionHeadOrder[] = {"vec_dqn", "dqn", "sp", "sv"};

struct Head {
  const HeadRule* rule = nullptr;
  MouseHeadShape shape;
};

// A head without layers does not exist.
std::optional<Head> ReadHeadShape(const HeadRule& rule,
                                  const MouseHeadShape& defaults,
                                  ConfigReader kwargs) {
  Head head{&rule, defaults};
  head.shape.num_layers = kwargs.OptionalInt("num_layers", 0, {0, kMaxSize});
  const bool exists = head.shape.num_layers > 0;
  head.shape.hidden_dim = exists ? kwargs.RequireInt("hidden_dim") : 0;
  head.shape.has_norm = kwargs.OptionalBool("use_norm", true);
  if (rule.score == ScoreRule::kVectorAngles) {
    const std::int64_t vector_dim = exists ? kwargs.RequireInt("vec_dim") : 0;
    if (vector_dim % 2 != 0) kwargs.Fail("vec_dim", "must be even");
    head.shape.output.push_back(vector_dim);
    kwargs.OptionalNumber("bias_scale", 1.0);
    kwargs.Ignore("vec_dim");
  }
  kwargs.OptionalNumber("scale", 1.0);
  kwargs.Ignore("hidden_dim");
  kwargs.RefuseOtherKeys();
  if (!exists) return std::nullopt;
  return head;
}

std::vector<Head> ReadHeadShapes(std::int64_t hidden_dim,
                                 std::int64_t num_actions,
                                 ConfigReader* config) {
  MouseHeadShape defaults;
  defaults.in_dim = hidden_dim;
  defaults.output = {num_actions};
  std::vector<Head> heads;
  for (const HeadRule& rule : kHeadRules) {
    std::optional<Head> head = ReadHeadShape(
        rule, defaults,
        config->RequireObject(absl::StrCat(rule.name, "_head_kwargs")));
    if (head) heads.push_back(*std::move(head));
  }
  return heads;
}

const Head* FindHead(const std::vector<Head>& heads, absl::string_view name) {
  for (const Head& head : heads) {
    if (head.rule->name == name) return &head;
  }
  return nullptr;
}

ActionConfig ReadAction(const std::vector<Head>& heads,
                        std::int64_t num_actions, ConfigReader* config) {
  const std::string given = config->OptionalString("action_head", "");
  const Head* head = FindHead(heads, given);
  if (config->Has("action_head") && head == nullptr) {
    config->Fail("action_head",
                 absl::StrCat("'", given, "' is no head of this checkpoint"));
  }
  for (absl::string_view name : kActionHeadOrder) {
    if (head == nullptr) head = FindHead(heads, name);
  }
  if (head == nullptr) {
    config->Fail("action_head", "no head has any layers");
    return {};
  }
  return {head->rule->name, head->rule->score, num_actions};
}

std::vector<OutputHeadConfig> ReadHeads(const std::vector<Head>& heads,
                                        const WeightReader& weights) {
  std::vector<OutputHeadConfig> outputs;
  for (const Head& head : heads) {
    const std::string name = head.rule->name;
    const WeightReader own = weights.Under(absl::StrCat(name, "_head"));
    if (head.rule->has_twin) {
      for (OutputHeadConfig& twin : ReadMouseTwinHeads(name, head.shape, own)) {
        outputs.push_back(std::move(twin));
      }
    } else {
      outputs.push_back(ReadMouseHead(name, head.shape, own));
    }
  }
  return outputs;
}

// --- the checkpoint ----------------------------------------------------------

// Without keywords there is no backbone; Qwen3 has a key that Llama lacks.
DecoderConfig ReadBackbone(std::int64_t hidden_dim, ConfigReader* config,
                           const WeightReader& weights, std::string* name) {
  std::optional<ConfigReader> kwargs =
      config->OptionalObject("backbone_kwargs");
  if (!kwargs || kwargs->empty()) {
    *name = "no backbone";
    DecoderConfig decoder;
    decoder.hidden_dim = hidden_dim;
    return decoder;
  }
  const bool is_qwen3 = kwargs->Contains("head_dim");
  *name = is_qwen3 ? "Qwen3 backbone" : "Llama backbone";
  return ReadMouseBackbone(
      is_qwen3 ? MouseBackboneKind::kQwen3 : MouseBackboneKind::kLlama,
      hidden_dim, *kwargs, weights.Under("backbone"));
}

bool Recognise(const json& config) {
  return !config.contains("format") && config.contains("hidden_dim") &&
         config.contains("embedding_kwargs");
}

absl::StatusOr<PolicyDescription> Read(const ConfigFile& file,
                                       TensorSource* source) {
  absl::Status error;
  ConfigReader config(file.json, file.path, &error);
  WeightReader weights(source, &error);

  const std::int64_t hidden_dim = config.RequireInt("hidden_dim");
  const EmbeddingShape embedding =
      ReadEmbeddingShape(config.RequireObject("embedding_kwargs"));
  const std::vector<Head> heads =
      ReadHeadShapes(hidden_dim, embedding.num_actions, &config);

  PolicyDescription policy;
  policy.action = ReadAction(heads, embedding.num_actions, &config);
  if (FindHead(heads, "dqn") != nullptr) policy.q_head = "dqn";
  for (const Field& field : embedding.fields) {
    policy.fields.push_back(ToFieldSpec(field));
  }
  std::string backbone;
  policy.decoder = ReadBackbone(hidden_dim, &config, weights, &backbone);
  config.RefuseOtherKeys();
  policy.embedder =
      ReadEmbedder(embedding, hidden_dim, weights.Under("embedder"));
  policy.heads = ReadHeads(heads, weights);
  policy.summary =
      absl::StrCat("MOUSE v0.3, ", backbone, ", width ", hidden_dim);
  if (!error.ok()) return error;
  return policy;
}

}  // namespace

const Format kMouseV03 = {
    "MOUSE v0.3",
    "keys hidden_dim, embedding_kwargs, *_head_kwargs, and no key format",
    Recognise,
    Read,
};

}  // namespace stepd::checkpoint
