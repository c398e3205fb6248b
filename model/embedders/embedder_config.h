// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// How the fields of a step become token rows, as data.
//
// A field contributes a content vector of `num_tokens * D` numbers; token i of
// it is elements [i*D, (i+1)*D). Symbols: docs/glossary.md. Tensors as in
// decoder_config.h.
//
// Thread safety: plain values.

#ifndef STEPD_MODEL_EMBEDDERS_EMBEDDER_CONFIG_H_
#define STEPD_MODEL_EMBEDDERS_EMBEDDER_CONFIG_H_

#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "ATen/core/Tensor.h"
#include "model/kinds.h"
#include "model/linear_weights.h"

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
  bool truncates = false;  // x_p is rounded towards zero first
};

// The values themselves: D numbers per token, as many tokens as the field has
// entries.
struct GivenEmbedding {};

enum class WhenAbsent {
  kNoTokens,  // the field has no tokens in this step
  // Its content is zeros; the type row is added all the same.
  kZeros,
  // It counts as zero: row 0 of a table, zeros to a formula.
  kZeroValue,
};

// A value that means "absent".
struct AbsentValue {
  double value = 0.0;  // compared in the field's dtype
  WhenAbsent then = WhenAbsent::kNoTokens;
};

struct FieldEmbedding {
  // Index into PolicySpec::fields; -1: no field, row 0 of a table every time.
  int field = 0;
  int num_tokens = 1;  // W = num_tokens * D; for GivenEmbedding per entry
  std::variant<TableEmbedding, FourierEmbedding, ProjectionEmbedding,
               GivenEmbedding>
      content;
  // Added to the content; undefined: nothing.
  at::Tensor type_row;  // [W]
  // The first of the field's elements that the content reads. Elements past
  // the end of a ragged field count as 0, surplus ones are not read.
  int first_element = 0;
  // kSum: the token of the step that the content begins at.
  int first_token = 0;
  // The step leaves the field out.
  WhenAbsent when_absent = WhenAbsent::kNoTokens;
  // Scalar fields only.
  std::optional<AbsentValue> absent_value;
  // GivenEmbedding: index of the int64 field whose entry i is the bank of
  // token i; nullopt: bank 0.
  std::optional<int> bank_field;
};

enum class FieldLayout {
  kSum,     // contents are added: max num_tokens tokens
  kConcat,  // one after another: sum of num_tokens tokens
};

// How many of the fields a step must have.
enum class FieldPresence {
  kAsSpecified,  // FieldSpec::required says it
  kExactlyOne,   // alternatives, e.g. token ids or embeddings
};

struct EmbedderConfig {
  std::int64_t hidden_dim = 0;  // D
  FieldLayout layout = FieldLayout::kSum;
  FieldPresence presence = FieldPresence::kAsSpecified;
  std::vector<FieldEmbedding> fields;
  // At least this many content tokens, zeros if no field fills them (a sum of
  // no fields).
  int min_content_tokens = 0;
  int num_banks = 1;  // of weights that tokens meet
  // Appended to every step; undefined: none.
  at::Tensor compute_tokens;  // [K, D]
};

// Rows that a session's inputs give: every row of a field through linears.
struct SessionRowsConfig {
  // Into PolicySpec::session_fields; float32 {rows, in}, or {in}: one row.
  int field = 0;
  int mask_field = -1;  // bool {rows}: false leaves a row out; -1: none
  // With `activation` between them; none: the rows are the values themselves.
  std::vector<LinearWeights> layers;
  Activation activation = Activation::kGelu;
};

// What tokens before the first step are like.
struct PrefixTokens {
  int bank = 0;
  // The steps' positions begin at 0 again.
  bool has_own_positions = false;
};

struct PrefixConfig {
  SessionRowsConfig rows;  // without a mask
  PrefixTokens tokens;
};

}  // namespace stepd

#endif  // STEPD_MODEL_EMBEDDERS_EMBEDDER_CONFIG_H_
