// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What the encoders of MOUSE v1 checkpoints share: the list of modalities, each
// of which turns one field of a step into tokens.
//
// Source: docs/checkpoints.md, "MOUSE v1".
// Thread safety: reentrant. Errors go to the readers.

#ifndef STEPD_MODEL_CHECKPOINT_MOUSE_MODALITY_H_
#define STEPD_MODEL_CHECKPOINT_MOUSE_MODALITY_H_

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/strings/string_view.h"
#include "model/checkpoint/config_reader.h"
#include "model/embedders/embedder_config.h"
#include "model/policy_spec.h"

namespace stepd::checkpoint {

struct MouseEncoder {
  std::vector<FieldSpec> fields;
  EmbedderConfig embedder;
};

enum class ModalityKind {
  kDiscrete,
  kRff,
  kContinuous,
  kImage,
  kLearnable,
  kToken
};

struct ModalityName {
  absl::string_view name;
  ModalityKind kind;
};

// One field, or a block of learned tokens.
struct Modality {
  ModalityKind kind = ModalityKind::kDiscrete;
  std::string field;      // empty: learnable
  std::size_t entry = 0;  // of the config's list
  std::int64_t size = 1;  // rows of the table, or numbers per step
  std::int64_t tokens = 1;
  bool is_required = true;
  bool is_linear = false;     // step encoder: no Fourier features
  bool has_type_row = false;  // step encoder
  // The value that stands for "absent", and what a step without the field has.
  std::optional<double> absent;
  WhenAbsent when_missing = WhenAbsent::kNoTokens;
};

// The key "type", one of `kinds`.
ModalityKind ReadModalityKind(std::initializer_list<ModalityName> kinds,
                              ConfigReader* config);

// The key "hidden_dim", which must be that of the model.
void RequireModelWidth(std::int64_t hidden_dim, ConfigReader* kwargs);

// Keys of the weights' initialisation; they say nothing about them any more.
void ReadInitialisationKeys(ConfigReader* config);

// The value that `key` holds, if any: an index next to those of the table, so
// that the field's bounds tell the client what is allowed, or any number where
// the field is no index.
void ReadAbsentValue(absl::string_view key, Modality* modality,
                     ConfigReader* config);

// Appends `modality` once for each name in the key "field".
void AddModalities(const Modality& modality, ConfigReader* config,
                   std::vector<Modality>* modalities);

// Null says no more than absence, whatever the modality.
void IgnoreNulls(std::initializer_list<absl::string_view> keys,
                 ConfigReader* config);

FieldSpec ModalityField(const Modality& modality);

// `rows` [tokens, D], the same in every step.
FieldEmbedding LearnableEmbedding(const at::Tensor& rows);

}  // namespace stepd::checkpoint

#endif  // STEPD_MODEL_CHECKPOINT_MOUSE_MODALITY_H_
