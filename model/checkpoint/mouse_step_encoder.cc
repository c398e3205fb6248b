// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/mouse_step_encoder.h"

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/strings/str_cat.h"

namespace stepd::checkpoint {
namespace {

// Rows of the type table; the first one is not used.
constexpr std::int64_t kNumTypes = 64;

struct StepDefaults {
  std::int64_t tokens = 1;
  bool has_type_row = true;
};

std::int64_t ReadSize(ModalityKind kind, ConfigReader* config) {
  if (kind == ModalityKind::kRff || kind == ModalityKind::kLearnable) return 1;
  const char* key = kind == ModalityKind::kDiscrete ? "vocab_size" : "dim";
  if (config->Has("size") && !config->Has(key)) key = "size";
  return config->RequireInt(key);
}

void ReadStepModality(const StepDefaults& defaults, std::size_t entry,
                      ConfigReader config, std::vector<Modality>* modalities) {
  Modality modality;
  modality.kind = ReadModalityKind({{"discrete", ModalityKind::kDiscrete},
                                    {"rff", ModalityKind::kRff},
                                    {"continuous", ModalityKind::kContinuous},
                                    {"image", ModalityKind::kImage},
                                    {"learnable", ModalityKind::kLearnable}},
                                   &config);
  modality.entry = entry;
  modality.size = ReadSize(modality.kind, &config);
  modality.tokens = config.OptionalInt("tokens", defaults.tokens);
  modality.has_type_row =
      config.OptionalBool("include_type_token", defaults.has_type_row);
  modality.is_required = config.OptionalBool("required", true);
  const std::string method = config.OptionalString("method", "rff");
  if (method != "rff" && method != "linear") {
    config.Fail("method", absl::StrCat("must be rff or linear, not ", method));
  }
  modality.is_linear =
      modality.kind == ModalityKind::kImage ||
      (modality.kind == ModalityKind::kContinuous && method == "linear");
  if (modality.kind == ModalityKind::kDiscrete) {
    ReadAbsentValue("absent", &modality, &config);
  }
  if (config.OptionalBool("allow_none", false)) {
    config.Fail("allow_none", "must be false; say required: false instead");
  }
  ReadInitialisationKeys(&config);
  IgnoreNulls({"field", "vocab_size", "dim", "size", "absent"}, &config);
  modality.when_missing =
      modality.absent.has_value() ? WhenAbsent::kZeros : WhenAbsent::kZeroValue;
  AddModalities(modality, &config, modalities);
  config.RefuseOtherKeys();
  // Time has an absent value unless told otherwise; a step without time counts
  // as time 0 all the same.
  for (Modality& added : *modalities) {
    if (added.field == "time" && added.kind == ModalityKind::kDiscrete &&
        !added.absent.has_value()) {
      added.absent = -1.0;
    }
  }
}

// An element per token where there are as many of either, else a sum over all
// elements; every element has a bias of its own.
void ReadProjections(const Modality& modality, std::int64_t hidden_dim,
                     WeightReader weights,
                     std::vector<FieldEmbedding>* embeddings) {
  const bool is_split = modality.tokens == modality.size;
  const std::int64_t width =
      is_split ? hidden_dim : modality.tokens * hidden_dim;
  ProjectionEmbedding whole;
  whole.weight = weights.Take("projs.weight", {modality.size, width, 1});
  whole.bias = weights.Take("projs.bias", {modality.size, width});
  if (!weights.ok()) return;
  whole.weight = whole.weight.squeeze(2);
  whole.bias = whole.bias.to(at::kFloat);
  if (modality.kind == ModalityKind::kImage) {  // 0..255 become -1..1
    whole.scale = 2.0F / 255.0F;
    whole.offset = -1.0F;
    whole.truncates = true;
  }
  for (std::int64_t i = 0; i < (is_split ? modality.size : 1); ++i) {
    FieldEmbedding embedding;
    ProjectionEmbedding part = whole;
    if (is_split) {
      part.weight = whole.weight.narrow(0, i, 1);
      part.bias = whole.bias.select(0, i);
      embedding.first_element = static_cast<int>(i);
      embedding.first_token = static_cast<int>(i);
    } else {
      part.bias = whole.bias.sum(0);
      embedding.num_tokens = static_cast<int>(modality.tokens);
    }
    embedding.content = std::move(part);
    embeddings->push_back(std::move(embedding));
  }
}

std::vector<FieldEmbedding> ReadStepContent(const Modality& modality,
                                            std::int64_t hidden_dim,
                                            WeightReader weights) {
  const std::int64_t width = modality.tokens * hidden_dim;
  std::vector<FieldEmbedding> embeddings;
  if (modality.is_linear) {
    ReadProjections(modality, hidden_dim, weights, &embeddings);
    return embeddings;
  }
  if (modality.kind == ModalityKind::kLearnable) {
    const at::Tensor rows =
        weights.Take("embed", {modality.tokens, hidden_dim});
    if (weights.ok()) embeddings.push_back(LearnableEmbedding(rows));
    return embeddings;
  }
  FieldEmbedding& embedding = embeddings.emplace_back();
  embedding.num_tokens = static_cast<int>(modality.tokens);
  if (modality.kind == ModalityKind::kDiscrete) {
    embedding.content =
        TableEmbedding{weights.Take("embed.weight", {modality.size, width})};
  } else {
    embedding.content =
        FourierEmbedding{weights.Take("rff.weight", {modality.size, width}),
                         weights.Take("rff.freqs", {modality.size, width}),
                         weights.Take("rff.phases", {modality.size, width})};
  }
  return embeddings;
}

std::vector<Modality> ReadStepModalities(ConfigReader* kwargs) {
  StepDefaults defaults;
  defaults.tokens = kwargs->OptionalInt("token_data_len", 1);
  defaults.has_type_row = kwargs->OptionalBool("include_type_token", true);
  std::vector<Modality> modalities;
  std::size_t entry = 0;
  for (const ConfigReader& config : kwargs->RequireObjects("modalities")) {
    ReadStepModality(defaults, entry++, config, &modalities);
  }
  if (modalities.empty()) kwargs->Fail("modalities", "must not be empty");
  if (modalities.size() >= kNumTypes) {
    kwargs->Fail("modalities", "must be at most 63");
  }
  return modalities;
}

// Content that is made of the field's value: index `field` of the spec.
void BindToField(const Modality& modality, std::size_t field,
                 FieldEmbedding* embedding) {
  embedding->field = static_cast<int>(field);
  embedding->when_absent = modality.when_missing;
  if (modality.absent.has_value()) {
    embedding->absent_value = {*modality.absent, WhenAbsent::kZeros};
  }
}

}  // namespace

MouseEncoder ReadMouseStepEncoder(std::int64_t hidden_dim, ConfigReader kwargs,
                                  const WeightReader& weights) {
  RequireModelWidth(hidden_dim, &kwargs);
  std::vector<Modality> modalities = ReadStepModalities(&kwargs);
  ReadInitialisationKeys(&kwargs);
  MouseEncoder encoder;
  encoder.embedder.hidden_dim = hidden_dim;
  encoder.embedder.layout = kwargs.OptionalBool("concat_modalities", false)
                                ? FieldLayout::kConcat
                                : FieldLayout::kSum;
  kwargs.RefuseOtherKeys();
  // Saved even where no type row is added.
  const at::Tensor types = WeightReader(weights).Take(
      "type_embedder.embed.weight", {kNumTypes, hidden_dim});
  for (std::size_t i = 0; i < modalities.size() && weights.ok(); ++i) {
    const Modality& modality = modalities[i];
    const std::string name = modality.kind == ModalityKind::kLearnable
                                 ? absl::StrCat("__learnable_", modality.entry)
                                 : modality.field;
    for (FieldEmbedding& embedding : ReadStepContent(
             modality, hidden_dim,
             weights.Under(absl::StrCat("modality_embedders.", name)))) {
      if (modality.kind != ModalityKind::kLearnable) {
        BindToField(modality, encoder.fields.size(), &embedding);
      }
      if (encoder.embedder.layout == FieldLayout::kConcat) {
        embedding.first_token = 0;  // they follow one another anyway
      }
      if (modality.has_type_row) {
        embedding.type_row = types.select(0, static_cast<std::int64_t>(i) + 1)
                                 .repeat({embedding.num_tokens});
      }
      encoder.embedder.fields.push_back(std::move(embedding));
    }
    if (modality.kind != ModalityKind::kLearnable) {
      encoder.fields.push_back(ModalityField(modality));
    }
  }
  return encoder;
}

}  // namespace stepd::checkpoint
