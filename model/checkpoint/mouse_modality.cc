// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/mouse_modality.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace stepd::checkpoint {

ModalityKind ReadModalityKind(std::initializer_list<ModalityName> kinds,
                              ConfigReader* config) {
  const std::string name = config->RequireString("type");
  for (const ModalityName& kind : kinds) {
    if (kind.name == name) return kind.kind;
  }
  config->Fail("type",
               absl::StrCat("'", name, "' is no modality of this encoder"));
  return ModalityKind::kLearnable;
}

void RequireModelWidth(std::int64_t hidden_dim, ConfigReader* kwargs) {
  if (kwargs->RequireInt("hidden_dim") != hidden_dim) {
    kwargs->Fail("hidden_dim",
                 absl::StrCat("must be that of the model, ", hidden_dim));
  }
}

void ReadInitialisationKeys(ConfigReader* config) {
  for (const char* key :
       {"fourier_min", "fourier_max", "std", "type_embedding_std"}) {
    config->OptionalNumber(key, 1.0);
  }
}

void ReadAbsentValue(absl::string_view key, Modality* modality,
                     ConfigReader* config) {
  if (!config->Has(key)) return;
  const double value = config->RequireNumber(key);
  if (modality->kind != ModalityKind::kRff &&
      modality->kind != ModalityKind::kContinuous &&
      (std::trunc(value) != value || value < -1.0 ||
       value > static_cast<double>(modality->size))) {
    config->Fail(key, absl::StrCat("must be an integer from -1 to ",
                                   modality->size, ", not ", value));
  }
  modality->absent = value;
}

void AddModalities(const Modality& modality, ConfigReader* config,
                   std::vector<Modality>* modalities) {
  if (modality.kind == ModalityKind::kLearnable) {
    modalities->push_back(modality);
    return;
  }
  for (const std::string& field : config->RequireStrings("field")) {
    for (const Modality& other : *modalities) {
      if (other.field != field) continue;
      config->Fail("field",
                   absl::StrCat("'", field, "' is a modality already"));
    }
    modalities->push_back(modality);
    modalities->back().field = field;
  }
}

void IgnoreNulls(std::initializer_list<absl::string_view> keys,
                 ConfigReader* config) {
  for (absl::string_view key : keys) {
    if (!config->Has(key)) config->Ignore(key);
  }
}

FieldSpec ModalityField(const Modality& modality) {
  FieldSpec spec;
  spec.name = modality.field;
  spec.required = modality.is_required;
  if (modality.kind == ModalityKind::kDiscrete ||
      modality.kind == ModalityKind::kToken) {
    const auto absent =
        static_cast<std::int64_t>(modality.absent.value_or(0.0));
    spec.dtype = DType::kInt64;
    spec.min = std::min<std::int64_t>(0, absent);
    spec.max = std::max(modality.size - 1, absent);
  } else if (modality.kind != ModalityKind::kRff) {
    spec.shape = {modality.size};
  }
  return spec;
}

FieldEmbedding LearnableEmbedding(const at::Tensor& rows) {
  FieldEmbedding embedding;
  embedding.field = -1;
  embedding.num_tokens = static_cast<int>(rows.size(0));
  embedding.content = TableEmbedding{rows.reshape({1, -1})};
  return embedding;
}

}  // namespace stepd::checkpoint
