// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/noether_untied.h"

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/checkpoint/config_reader.h"
#include "model/checkpoint/noether_blocks.h"
#include "model/checkpoint/weight_reader.h"

namespace stepd::checkpoint {
namespace {

struct Shape {
  UntiedBlockShape block;
  std::vector<std::string> types;  // in the order of the banks
  std::int64_t depth = 0;
  // Perceiver blocks in front of the stack; 0: none.
  std::int64_t num_perceivers = 0;
  std::int64_t source_dim = 0;
  std::int64_t source_length = 0;
};

// ---- Config -------------------------------------------------------------

void ReadTypes(ConfigReader* config, Shape* shape) {
  shape->types = config->RequireStrings("types");
  if (shape->block.num_types !=
      static_cast<std::int64_t>(shape->types.size())) {
    config->Fail("num_types", absl::StrCat("is not the number of types, ",
                                           shape->types.size()));
  }
  const std::set<std::string> names(shape->types.begin(), shape->types.end());
  if (names.size() != shape->types.size()) {
    config->Fail("types", "has a name twice");
  }
}

void ReadOrientation(ConfigReader* config, Shape* shape) {
  const std::string orientation =
      config->OptionalString("linear_orientation", "out_in");
  if (orientation == "upstream_auto") {
    config->Fail("linear_orientation",
                 "upstream_auto transposes or not by how many tokens of each "
                 "type a call has, so steps have no answer of their own; say "
                 "out_in, or in_out for a model that was trained on equally "
                 "many tokens of each type");
  } else if (orientation != "out_in" && orientation != "in_out") {
    config->Fail("linear_orientation", "is none of out_in, in_out");
  }
  shape->block.transposes_square = orientation == "in_out";
}

void ReadPerceivers(ConfigReader* config, Shape* shape) {
  std::optional<ConfigReader> perceiver = config->OptionalObject("perceiver");
  if (!perceiver.has_value()) return;
  shape->num_perceivers = perceiver->RequireInt("depth");
  shape->source_dim = perceiver->OptionalInt("kv_dim", shape->block.dim);
  shape->source_length = perceiver->RequireInt("source_length");
  perceiver->RefuseOtherKeys();
}

Shape ReadShape(ConfigReader* config) {
  Shape shape;
  config->Ignore("family");
  shape.block = ReadUntiedBlockShape(config);
  ReadTypes(config, &shape);
  shape.depth = config->RequireInt("depth");
  if (shape.block.rope_axes != 1) {
    config->Fail("rope.input_dim", "is not 1: a token's position is its index");
  }
  ReadOrientation(config, &shape);
  ReadPerceivers(config, &shape);
  if (config->OptionalString("position", "token_index") != "token_index") {
    config->Fail("position", "is not token_index");
  }
  config->RefuseOtherKeys();
  return shape;
}

// ---- The policy ---------------------------------------------------------

void AddTypedTokens(const Shape& s, PolicyDescription* policy) {
  FieldSpec tokens;
  tokens.name = "tokens";
  tokens.shape = {-1, s.block.dim};
  FieldSpec types;
  types.name = "token_types";
  types.dtype = DType::kInt64;
  types.shape = {-1};
  types.min = 0;
  types.max = static_cast<std::int64_t>(s.types.size()) - 1;
  types.value_names = s.types;
  types.same_length_as = tokens.name;
  policy->fields = {std::move(tokens), std::move(types)};

  FieldEmbedding given;
  given.field = 0;
  given.content = GivenEmbedding{};
  given.bank_field = 1;
  policy->embedder.hidden_dim = s.block.dim;
  policy->embedder.num_banks = static_cast<int>(s.types.size());
  policy->embedder.fields = {std::move(given)};
}

// Given once: cached keys and values were computed with them.
void AddSessionInputs(const Shape& s, PolicyDescription* policy) {
  if (s.num_perceivers > 0) {
    FieldSpec source;
    source.name = "source";
    source.shape = {s.source_length, s.source_dim};
    policy->session_fields.push_back(std::move(source));
    policy->source.emplace();
  }
  if (s.block.condition_dim > 0) {
    policy->condition.emplace();
    policy->condition->field = static_cast<int>(policy->session_fields.size());
    FieldSpec condition;
    condition.name = "condition";
    condition.shape = {s.block.condition_dim};
    policy->session_fields.push_back(std::move(condition));
  }
}

StageConfig ReadLayers(const Shape& s, const WeightReader& weights) {
  StageConfig stage;
  for (std::int64_t i = 0; i < s.num_perceivers && weights.ok(); ++i) {
    stage.layers.push_back(ReadPerceiverBlock(
        s.block, s.source_dim, weights.Under(absl::StrCat("perceivers.", i))));
  }
  for (std::int64_t i = 0; i < s.depth && weights.ok(); ++i) {
    stage.layers.push_back(ReadUntiedBlock(
        s.block, "attention_block", weights.Under(absl::StrCat("blocks.", i))));
  }
  return stage;
}

absl::StatusOr<PolicyDescription> ReadNoetherUntied(const ConfigFile& config,
                                                    TensorSource* source) {
  absl::Status error;
  ConfigReader reader(config.json, config.path, &error);
  const Shape s = ReadShape(&reader);
  if (!error.ok()) return error;

  WeightReader weights(source, &error);
  PolicyDescription policy;
  policy.summary =
      absl::StrCat("noether untied, ", s.types.size(), " token types, ",
                   s.depth, " layers, width ", s.block.dim);
  policy.decoder.hidden_dim = s.block.dim;
  policy.decoder.stages = {ReadLayers(s, weights)};
  AddTypedTokens(s, &policy);
  AddSessionInputs(s, &policy);
  if (!error.ok()) return error;
  return policy;
}

bool IsNoetherUntied(const nlohmann::json& config) {
  const auto family = config.find("family");
  return family != config.end() && *family == "noether_untied";
}

}  // namespace

const Format kNoetherUntied = {"noether untied",
                               "\"family\": \"noether_untied\"",
                               IsNoetherUntied, ReadNoetherUntied};

}  // namespace stepd::checkpoint
