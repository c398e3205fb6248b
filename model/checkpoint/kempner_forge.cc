// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/kempner_forge.h"

#include <cstdint>
#include <optional>
#include <utility>

#include "ATen/core/Tensor.h"
#include "absl/strings/str_cat.h"
#include "model/checkpoint/config_reader.h"
#include "model/checkpoint/kempner_forge_model.h"
#include "model/checkpoint/kempner_forge_vision.h"
#include "model/checkpoint/token_fields.h"
#include "model/checkpoint/weight_reader.h"

namespace stepd::checkpoint {
namespace {

using kempner_forge::Shape;
using kempner_forge::VisionConfig;

constexpr char kEmbedding[] = "token_embedding.embedding.weight";
constexpr char kHead[] = "output_head.proj.weight";

StageConfig ReadLayers(const Shape& shape, WeightReader weights) {
  StageConfig stage;
  for (std::int64_t i = 0; i < shape.num_layers && weights.ok(); ++i) {
    stage.layers.push_back(kempner_forge::ReadLayer(
        shape, i, weights.Under(absl::StrCat("layers.", i))));
  }
  return stage;
}

// The token fields and the head.
void ReadTokens(const Shape& shape, WeightReader weights,
                PolicyDescription* policy) {
  const at::Tensor embedding =
      weights.Take(kEmbedding, {shape.vocabulary, shape.dim});
  at::Tensor head = embedding;
  if (shape.has_tied_head) {
    weights.Ignore(kHead);
  } else {
    head = weights.Take(kHead, {shape.vocabulary, shape.dim});
  }
  if (weights.ok()) AddTokenFields(embedding, head, policy);
}

absl::StatusOr<PolicyDescription> ReadKempnerForge(const ConfigFile& config,
                                                   TensorSource* source) {
  absl::Status error;
  ConfigReader reader(config.json, config.path, &error);
  const Shape shape = kempner_forge::ReadShape(&reader);
  const std::optional<VisionConfig> vision =
      kempner_forge::ReadVisionConfig(shape, &reader);
  reader.Ignore("family");
  reader.RefuseOtherKeys();
  if (!error.ok()) return error;

  const WeightReader all(source, &error);
  // A checkpoint of the model with its vision encoder has its parts by name.
  const bool is_wrapped =
      source->Has(absl::StrCat("transformer.", kEmbedding)) ||
      source->Has(absl::StrCat("transformer.", kHead));
  const WeightReader weights = is_wrapped ? all.Under("transformer") : all;
  PolicyDescription policy;
  policy.summary = absl::StrCat(
      "KempnerForge, ", shape.num_experts > 0 ? "MoE, " : "dense, ",
      vision.has_value() ? absl::StrCat(vision->arch, ", ") : "",
      shape.num_layers, " layers, width ", shape.dim);
  policy.max_tokens = shape.max_tokens;
  policy.decoder.hidden_dim = shape.dim;
  ReadTokens(shape, weights, &policy);
  if (vision.has_value()) {
    kempner_forge::ReadVision(shape, *vision, all, weights, &policy);
  } else {
    policy.decoder.stages = {ReadLayers(shape, weights)};
    policy.decoder.final_norm = kempner_forge::ReadNorm(shape, "norm", weights);
  }
  if (!error.ok()) return error;
  return policy;
}

bool IsKempnerForge(const nlohmann::json& config) {
  const auto family = config.find("family");
  return family != config.end() && *family == "kempner_forge";
}

}  // namespace

const Format kKempnerForge = {"KempnerForge", "\"family\": \"kempner_forge\"",
                              IsKempnerForge, ReadKempnerForge};

}  // namespace stepd::checkpoint
