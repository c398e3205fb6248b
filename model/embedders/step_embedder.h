// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Turns encoded steps into token rows.
//
// Thread safety: thread-safe once built.

#ifndef STEPD_MODEL_EMBEDDERS_STEP_EMBEDDER_H_
#define STEPD_MODEL_EMBEDDERS_STEP_EMBEDDER_H_

#include <cstdint>
#include <memory>
#include <variant>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/embedders/embedder_config.h"
#include "model/kernels/kernel_set.h"
#include "model/policy_spec.h"
#include "model/step.h"

namespace stepd {

class StepEmbedder {
 public:
  // `kernels` must outlive the embedder.
  StepEmbedder(const EmbedderConfig& config,
               const std::vector<FieldSpec>& fields,
               const kernels::KernelSet& kernels);

  const StepLayout& layout() const { return layout_; }
  // Tokens of every step.
  int tokens_per_step() const { return tokens_per_step_; }

  // Writes the tokens of `steps`, one after another, to x
  // [steps * tokens_per_step, D] on the device.
  // REQUIRES: every step is an encoding of layout().
  void Embed(absl::Span<const absl::string_view> steps, float* x) const;

 private:
  struct Table {
    at::Tensor table;  // [values, W]
  };
  struct Fourier {
    at::Tensor weight;  // [C, W]
    at::Tensor freqs;
    at::Tensor phases;
  };
  struct Projection {
    std::unique_ptr<kernels::PackedLinear> linear;  // [W, P]
    float scale;
    float offset;
  };
  struct Field {
    int index;                  // of the step's fields
    std::int64_t width;         // W
    std::int64_t first_offset;  // of its first token in a step's rows
    at::Tensor type_row;        // [W], or undefined
    std::variant<Table, Fourier, Projection> content;
  };

  void AddField(const FieldEmbedding& config, std::int64_t first_offset);
  // Each adds one field's content for all steps; values [steps, fields].
  void AddContent(const Field& field, const Table& table,
                  absl::Span<const FieldValue> values,
                  const kernels::ScatterTarget& target) const;
  void AddContent(const Field& field, const Fourier& fourier,
                  absl::Span<const FieldValue> values,
                  const kernels::ScatterTarget& target) const;
  void AddContent(const Field& field, const Projection& projection,
                  absl::Span<const FieldValue> values,
                  const kernels::ScatterTarget& target) const;

  const kernels::KernelSet& kernels_;
  StepLayout layout_;
  std::int64_t hidden_dim_;
  int tokens_per_step_ = 0;
  std::vector<Field> fields_;
  at::Tensor compute_tokens_;  // [K, D], or undefined
};

}  // namespace stepd

#endif  // STEPD_MODEL_EMBEDDERS_STEP_EMBEDDER_H_
