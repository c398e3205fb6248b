// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/mouse_v1.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "model/checkpoint/config_reader.h"
#include "model/checkpoint/mouse_backbone.h"
#include "model/checkpoint/mouse_heads.h"
#include "model/checkpoint/mouse_modality.h"
#include "model/checkpoint/mouse_step_encoder.h"
#include "model/checkpoint/mouse_token_encoders.h"
#include "model/checkpoint/weight_reader.h"
#include "model/heads/head_config.h"

namespace stepd::checkpoint {
namespace {

using nlohmann::json;

constexpr char kFormatName[] = "mouse-core-model-v1";

// --- heads -------------------------------------------------------------------

enum class HeadKind { kPlain, kTwin, kTwinVectors, kTwinPerLayer };

struct HeadType {
  absl::string_view name;
  HeadKind kind;
};

constexpr HeadType kHeadTypes[] = {
    {"action_value", HeadKind::kTwin},
    {"action_value_layerwise", HeadKind::kTwinPerLayer},
    {"action_vector", HeadKind::kTwinVectors},
    {"discrete_action", HeadKind::kPlain},
    {"swiglu", HeadKind::kPlain},
};

// Every name a head can have. Where the config names no head to act, the first
// one there is acts.
constexpr absl::string_view kActionHeadOrder[] = {
    "action_vector", "action_value_layerwise", "action_value", "action",
    "value"};

struct Head {
  std::string name;
  HeadKind kind = HeadKind::kPlain;
  MouseHeadShape shape;
};

HeadKind ReadKind(ConfigReader* config) {
  const std::string name = config->RequireString("type");
  for (const HeadType& type : kHeadTypes) {
    if (type.name == name) return type.kind;
  }
  config->Fail("type", absl::StrCat("'", name, "' is no type of head"));
  return HeadKind::kPlain;
}

std::string ReadName(const std::vector<Head>& others, ConfigReader* config) {
  std::string name = config->RequireString("name");
  const auto* end = std::end(kActionHeadOrder);
  if (std::find(std::begin(kActionHeadOrder), end, name) == end) {
    config->Fail("name", absl::StrCat("'", name, "' is no name of a head"));
  }
  for (const Head& other : others) {
    if (other.name == name) {
      config->Fail("name", absl::StrCat("there are two heads '", name, "'"));
    }
  }
  return name;
}

// `num_layers` of the backbone.
Head ReadHead(std::int64_t hidden_dim, std::int64_t num_layers,
              const std::vector<Head>& others, ConfigReader config) {
  Head head;
  head.name = ReadName(others, &config);
  head.kind = ReadKind(&config);
  head.shape.in_dim = config.RequireInt("in_features");
  if (head.shape.in_dim != hidden_dim) {
    config.Fail("in_features",
                absl::StrCat("must be hidden_dim, ", hidden_dim));
  }
  head.shape.hidden_dim = config.RequireInt("hidden_dim");
  head.shape.num_layers = config.RequireInt("num_layers");
  head.shape.has_norm = config.OptionalBool("use_norm", true);
  if (head.kind == HeadKind::kTwinVectors) {
    const std::int64_t num_actions = config.RequireInt("max_num_actions");
    const std::int64_t vector_dim = config.RequireInt("vec_dim");
    if (vector_dim % 2 != 0) config.Fail("vec_dim", "must be even");
    head.shape.output = {num_actions, vector_dim};
    config.OptionalNumber("bias_scale", 1.0);
  } else {
    head.shape.output = {config.RequireInt("out_features")};
  }
  if (head.kind == HeadKind::kTwinPerLayer &&
      config.RequireInt("num_backbone_layers") != num_layers) {
    config.Fail("num_backbone_layers",
                absl::StrCat("must be those of the backbone, ", num_layers));
  }
  config.OptionalNumber("scale", 1.0);  // of the initialisation
  config.RefuseOtherKeys();
  return head;
}

const Head* FindHead(const std::vector<Head>& heads, absl::string_view name) {
  for (const Head& head : heads) {
    if (head.name == name) return &head;
  }
  return nullptr;
}

ActionConfig ReadAction(const std::vector<Head>& heads, ConfigReader* config) {
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
    config->Fail("heads", "must not be empty");
    return {};
  }
  return {head->name,
          head->kind == HeadKind::kTwinVectors ? ScoreRule::kVectorAngles
                                               : ScoreRule::kOutput,
          head->shape.output.front()};
}

// One pair of networks per layer of the backbone; the outputs of all layers
// are one output.
std::vector<OutputHeadConfig> ReadLayerHeads(const Head& head,
                                             std::int64_t num_layers,
                                             const WeightReader& weights) {
  std::vector<OutputHeadConfig> online;
  std::vector<OutputHeadConfig> target;
  for (std::int64_t layer = 0; layer < num_layers && weights.ok(); ++layer) {
    std::vector<OutputHeadConfig> twins =
        ReadMouseTwinHeads(head.name, head.shape,
                           weights.Under(absl::StrCat("layer_heads.", layer)));
    for (OutputHeadConfig& twin : twins) {
      twin.is_stacked = true;
      // The last layer's stream is the decoder's output.
      if (layer + 1 < num_layers) twin.read_layer = static_cast<int>(layer);
    }
    online.push_back(std::move(twins[0]));
    target.push_back(std::move(twins[1]));
  }
  online.insert(online.end(), target.begin(), target.end());
  return online;
}

std::vector<OutputHeadConfig> ReadHeadWeights(const Head& head,
                                              std::int64_t num_layers,
                                              const WeightReader& weights) {
  switch (head.kind) {
    case HeadKind::kPlain:
      return {ReadMouseHead(head.name, head.shape, weights)};
    case HeadKind::kTwin:
    case HeadKind::kTwinVectors:
      return ReadMouseTwinHeads(head.name, head.shape, weights);
    case HeadKind::kTwinPerLayer:
      return ReadLayerHeads(head, num_layers, weights);
  }
  return {};
}

void ReadHeads(ConfigReader config, const WeightReader& weights,
               PolicyDescription* policy) {
  std::int64_t num_layers = 0;
  for (const StageConfig& stage : policy->decoder.stages) {
    num_layers += static_cast<std::int64_t>(stage.layers.size());
  }
  num_layers = std::max<std::int64_t>(num_layers, 1);
  std::vector<Head> heads;
  for (const ConfigReader& head : config.RequireObjects("heads")) {
    heads.push_back(
        ReadHead(policy->decoder.hidden_dim, num_layers, heads, head));
  }
  policy->action = ReadAction(heads, &config);
  config.RefuseOtherKeys();
  for (const Head& head : heads) {
    if (head.kind == HeadKind::kTwin && policy->q_head.empty()) {
      policy->q_head = head.name;
    }
    for (OutputHeadConfig& output :
         ReadHeadWeights(head, num_layers, weights.Under(head.name))) {
      policy->heads.push_back(std::move(output));
    }
  }
}

// --- the checkpoint ----------------------------------------------------------

MouseEncoder ReadEncoder(std::int64_t hidden_dim, bool has_tokenizer,
                         ConfigReader config, const WeightReader& weights,
                         std::string* type) {
  *type = config.RequireString("type");
  const ConfigReader kwargs = config.RequireObject("kwargs");
  config.RefuseOtherKeys();
  if (*type == "step") return ReadMouseStepEncoder(hidden_dim, kwargs, weights);
  if (*type == "numeric") {
    return ReadMouseNumericEncoder(hidden_dim, kwargs, weights);
  }
  if (*type == "text") {
    return ReadMouseTextEncoder(hidden_dim, has_tokenizer, kwargs, weights);
  }
  config.Fail("type",
              absl::StrCat("'", *type, "' is none of step, numeric and text"));
  return {};
}

DecoderConfig ReadBackbone(std::int64_t hidden_dim, ConfigReader config,
                           const WeightReader& weights, std::string* type) {
  *type = config.RequireString("type");
  if (config.RequireInt("hidden_dim") != hidden_dim) {
    config.Fail("hidden_dim",
                absl::StrCat("must be that of the model, ", hidden_dim));
  }
  DecoderConfig decoder;
  decoder.hidden_dim = hidden_dim;
  if (*type == "identity") {
    if (auto kwargs = config.OptionalObject("kwargs")) {
      kwargs->RefuseOtherKeys();
    }
  } else if (*type == "llama" || *type == "qwen3") {
    decoder = ReadMouseBackbone(*type == "llama" ? MouseBackboneKind::kLlama
                                                 : MouseBackboneKind::kQwen3,
                                hidden_dim, config.RequireObject("kwargs"),
                                weights.Under("model"));
  } else {
    config.Fail("type", absl::StrCat("'", *type,
                                     "' is none of identity, llama and qwen3"));
  }
  config.RefuseOtherKeys();
  return decoder;
}

bool Recognise(const json& config) {
  const auto format = config.find("format");
  return format != config.end() && *format == kFormatName;
}

absl::StatusOr<PolicyDescription> Read(const ConfigFile& file,
                                       TensorSource* source) {
  absl::Status error;
  ConfigReader config(file.json, file.path, &error);
  WeightReader weights(source, &error);

  if (config.RequireString("format") != kFormatName) {
    config.Fail("format", absl::StrCat("must be '", kFormatName, "'"));
  }
  const std::int64_t hidden_dim = config.RequireInt("hidden_dim");
  const bool has_tokenizer = std::filesystem::exists(
      std::filesystem::path(file.path).parent_path() / "tokenizer.json");
  std::string backbone;
  std::string encoder_type;
  PolicyDescription policy;
  policy.decoder = ReadBackbone(hidden_dim, config.RequireObject("backbone"),
                                weights.Under("backbone"), &backbone);
  MouseEncoder encoder =
      ReadEncoder(hidden_dim, has_tokenizer, config.RequireObject("encoder"),
                  weights.Under("encoder"), &encoder_type);
  policy.fields = std::move(encoder.fields);
  policy.embedder = std::move(encoder.embedder);
  ReadHeads(config.RequireObject("heads"), weights.Under("heads"), &policy);
  config.RefuseOtherKeys();
  policy.summary = absl::StrCat("MOUSE v1, ", encoder_type, " encoder, ",
                                backbone, " backbone, width ", hidden_dim);
  if (!error.ok()) return error;
  return policy;
}

}  // namespace

const Format kMouseV1 = {
    "MOUSE v1",
    "key format is 'mouse-core-model-v1'",
    Recognise,
    Read,
};

}  // namespace stepd::checkpoint
