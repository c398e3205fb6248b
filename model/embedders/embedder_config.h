// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// How the fields of a step become token rows, as data.
//
// Every field contributes a content vector of `num_tokens * D` numbers; token i
// of it is elements [i*D, (i+1)*D). Symbols: docs/glossary.md. Tensors as in
// decoder_config.h.
//
// Thread safety: plain values.

#ifndef STEPD_MODEL_EMBEDDERS_EMBEDDER_CONFIG_H_
#define STEPD_MODEL_EMBEDDERS_EMBEDDER_CONFIG_H_

#include <cstdint>
#include <variant>
#include <vector>

#include "ATen/core/Tensor.h"

namespace stepd {

// Row `value` of a table.
struct TableEmbedding {
  at::Tensor table;  // [values, W]
};

// sum_c weight[c] * cos(x_c * freqs[c] + phases[c]) (random Fourier features,
// Rahimi and Recht 2007).
struct FourierEmbedding {
  at::Tensor weight;  // [C, W]
  at::Tensor freqs;   // [C, W]
  at::Tensor phases;  // [C, W]
};

// sum_p weight[p] * (x_p * scale + offset) + bias.
struct ProjectionEmbedding {
  at::Tensor weight;  // [P, W]
  at::Tensor bias;    // [W]
  float scale = 1.0F;
  float offset = 0.0F;
};

struct FieldEmbedding {
  int field = 0;       // index into PolicySpec::fields
  int num_tokens = 1;  // W = num_tokens * D
  std::variant<TableEmbedding, FourierEmbedding, ProjectionEmbedding> content;
  // Added to the content; undefined: nothing.
  at::Tensor type_row;  // [W]
};

enum class FieldLayout {
  kSum,     // contents are added: max num_tokens tokens
  kConcat,  // one after another: sum of num_tokens tokens
};

struct EmbedderConfig {
  std::int64_t hidden_dim = 0;  // D
  FieldLayout layout = FieldLayout::kSum;
  std::vector<FieldEmbedding> fields;
  // Tokens of the step before the compute tokens. Given for the sum layout
  // without fields (zero vectors); otherwise it follows from the fields.
  int num_content_tokens = 0;
  // Appended to every step; undefined: none.
  at::Tensor compute_tokens;  // [K, D]
};

}  // namespace stepd

#endif  // STEPD_MODEL_EMBEDDERS_EMBEDDER_CONFIG_H_
