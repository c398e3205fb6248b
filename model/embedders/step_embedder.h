// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Turns encoded steps into token rows.
//
// Thread safety: thread-safe once built; an EmbedPlan is one runner's own.

#ifndef STEPD_MODEL_EMBEDDERS_STEP_EMBEDDER_H_
#define STEPD_MODEL_EMBEDDERS_STEP_EMBEDDER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/embedders/embed_program.h"
#include "model/embedders/embedder_config.h"
#include "model/kernels/kernel_set.h"
#include "model/layers/scratch.h"
#include "model/policy_spec.h"
#include "model/step.h"

namespace stepd {

// The steps of a batch, taken apart: what Embed() works from. Borrows the
// steps. Kept between batches for its memory.
struct EmbedPlan {
  std::vector<FieldValue> values;        // [steps, fields of the layout]
  std::vector<int> num_tokens;           // [steps]
  std::vector<std::int64_t> first_rows;  // [steps] first token row of a step
  // [steps, embedded fields] first token row of a field's content; -1: none.
  std::vector<std::int64_t> content_rows;
  // [rows] the bank of every token; empty if there is one bank.
  std::vector<std::int32_t> token_banks;
  std::int64_t num_rows = 0;
};

// One field of a batch at a time: its values in the steps that have them, and
// where their contents go. Kept between batches for its memory.
struct EmbedColumn {
  std::vector<FieldValue> values;
  std::vector<std::int64_t> offsets;      // of their contents
  std::vector<std::int64_t> all_offsets;  // also of contents that are zeros
  std::vector<std::int64_t> indices;      // rows of a table to add there
  std::vector<float> inputs;              // what the values become, on the host
};

// Rows before a step that are no step's.
struct RowGap {
  std::size_t step = 0;  // index among the planned ones
  int num_rows = 0;
  int bank = 0;
};

class StepEmbedder {
 public:
  // `kernels` must outlive the embedder.
  StepEmbedder(const EmbedderConfig& config,
               const std::vector<FieldSpec>& fields,
               const kernels::KernelSet& kernels);

  // Bounds of CountTokens(); max is -1 when a field's entries are unbounded.
  int min_tokens_per_step() const { return min_tokens_; }
  int max_tokens_per_step() const { return max_tokens_; }
  // Banks of weights that tokens are told apart for.
  int num_banks() const { return num_banks_; }

  // Errors: kInvalidArgument  the bytes are no step of these fields, or it has
  //                           no token, or not the fields it must have, or not
  //                           one bank per token
  absl::StatusOr<int> CountTokens(absl::string_view step) const;

  // `gaps` in the order of their steps.
  // REQUIRES: CountTokens() of every step is OK.
  void Plan(absl::Span<const absl::string_view> steps,
            absl::Span<const RowGap> gaps, EmbedPlan* plan) const;

  // Scratch floats of Embed().
  std::int64_t ScratchSize() const;
  // Writes plan.num_rows token rows to x [rows, D] on the device; those of
  // gaps are zeros.
  void Embed(const EmbedPlan& plan, Scratch* scratch, EmbedColumn* column,
             float* x) const;

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
    bool truncates;
    // For EmbedRows(), on the device: [P, W] and [W]; else undefined.
    at::Tensor weight;
    at::Tensor bias;
  };
  struct Given {};
  struct Field {
    FieldEmbedding config;  // its tensors are dropped
    bool is_index;          // int64, not float32
    std::int64_t width;     // W
    at::Tensor type_row;    // [W], or undefined
    std::variant<Table, Fourier, Projection, Given> content;
    // Into contents_; -1: not of EmbedRows().
    std::int32_t content_index = -1;
    std::int32_t type_index = -1;
  };
  // What the contents of one field are added to.
  struct Output {
    EmbedColumn* column;
    Scratch* scratch;
    float* x;
  };

  void AddField(FieldEmbedding config, const std::vector<FieldSpec>& fields);
  // What to do instead of reading the field; nullopt: it has a value.
  std::optional<WhenAbsent> FindAbsence(
      const Field& field, absl::Span<const FieldValue> step) const;
  // Tokens of `field` in a step with these values; 0: none.
  int FieldTokens(const Field& field, absl::Span<const FieldValue> step) const;
  int StepTokens(absl::Span<const FieldValue> step) const;
  // Every token of a field with banks has one, and it exists.
  absl::Status CheckBanks(absl::Span<const FieldValue> step) const;
  void PlanBanks(std::size_t step, EmbedPlan* plan) const;
  void PlanStep(std::size_t step, EmbedPlan* plan) const;
  void FillColumn(const EmbedPlan& plan, std::size_t field_index,
                  EmbedColumn* column) const;

  // What EmbedRows() can read of all fields, if the set has it.
  void ListContents();
  std::int32_t AddContentOf(const at::Tensor& table);
  // Embeds what EmbedRows() can read at once; gaps and the rest become zeros.
  void EmbedAtOnce(const EmbedPlan& plan, EmbedColumn* column, float* x) const;
  // The argument of a field's content with this value; its inputs are added.
  static std::int64_t ArgumentOf(const Field& field, const FieldValue& value,
                                 EmbedProgram* program);
  // Where the compute tokens of every step begin, in elements.
  void FindComputeTokens(const EmbedPlan& plan,
                         std::vector<std::int64_t>* offsets) const;
  // What a projection reads.
  static float ProjectionInput(const Field& field, const Projection& projection,
                               const FieldValue& value, std::int64_t p);

  void AddContent(const Field& field, const Table& table,
                  const Output& output) const;
  void AddContent(const Field& field, const Fourier& fourier,
                  const Output& output) const;
  void AddContent(const Field& field, const Projection& projection,
                  const Output& output) const;
  void AddContent(const Field& field, const Given& given,
                  const Output& output) const;
  // Adds `row` at every offset; `zeros` is memory for its indices.
  void AddEverywhere(const at::Tensor& row,
                     absl::Span<const std::int64_t> offsets,
                     std::vector<std::int64_t>* zeros, float* x) const;

  const kernels::KernelSet& kernels_;
  StepLayout layout_;
  std::int64_t hidden_dim_;
  FieldLayout field_layout_;
  FieldPresence presence_;
  int min_content_tokens_;
  int num_compute_tokens_ = 0;
  int min_tokens_ = 0;
  int max_tokens_ = 0;
  int num_banks_;
  std::vector<Field> fields_;
  at::Tensor compute_tokens_;  // [K, D], or undefined
  // For EmbedRows(); empty without it.
  std::vector<kernels::EmbedContent> contents_;
  std::int32_t compute_index_ = -1;  // into contents_
};

}  // namespace stepd

#endif  // STEPD_MODEL_EMBEDDERS_STEP_EMBEDDER_H_
