// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// All that a policy answers of a token: its heads, the scores of its actions,
// and the rows that the heads read.
//
// Thread safety: a Readout is thread-safe once built; ReadoutValues are one
// runner's own.

#ifndef STEPD_MODEL_HEADS_READOUT_H_
#define STEPD_MODEL_HEADS_READOUT_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "model/heads/head_config.h"
#include "model/heads/output_head.h"
#include "model/kernels/kernel_set.h"
#include "model/layers/scratch.h"
#include "model/policy_spec.h"
#include "model/step.h"

namespace stepd {

// What is read of a batch, on the host. Kept between batches for its memory.
struct ReadoutValues {
  // Of each head, then of each layer that is read, then the hidden rows.
  std::vector<std::vector<float>> values;
  // Where those that are wanted begin, in the order in which they are copied.
  std::vector<float*> targets;
};

class Readout {
 public:
  // Rows of `hidden_dim`. `kernels` must outlive it.
  Readout(const std::vector<OutputHeadConfig>& heads,
          const ActionConfig& action, std::int64_t hidden_dim,
          const kernels::KernelSet& kernels);

  // As PolicySpec::outputs.
  const std::vector<OutputSpec>& outputs() const { return outputs_; }
  // Layers whose rows are read, ascending.
  const std::vector<int>& read_layers() const { return read_layers_; }
  // Scratch floats of Read() for `rows` rows.
  std::int64_t ScratchSize(std::int64_t rows) const;

  // Makes room for what is wanted of `rows` rows.
  void Place(std::size_t rows, OutputMask wanted, ReadoutValues* values) const;

  // Rows on the device: `hidden` [rows, D] is the decoder's output, `layers`
  // [read layers, rows, D] what was read of inner ones.
  struct Rows {
    std::int64_t count = 0;
    const float* hidden = nullptr;
    const float* layers = nullptr;
  };
  // Computes what is wanted and copies it to the targets; it is there once the
  // kernels have been waited for. REQUIRES: count > 0, Place() was called.
  void Read(const Rows& rows, OutputMask wanted, Scratch* scratch,
            const ReadoutValues& values) const;

  // Fills the scores and the wanted outputs of the first result->num_rows rows.
  void Fill(const ReadoutValues& values, OutputMask wanted, Scratch* scratch,
            StepResult* result) const;

 private:
  // Where a head reads and writes.
  struct PlacedHead {
    OutputHead head;
    int read = -1;   // index of the layer it reads; -1: the decoder's output
    int output = 0;  // index into outputs_
    int entry = 0;   // of that output, if heads are stacked
  };

  void PlaceHeads(const std::vector<OutputHeadConfig>& heads);
  void DescribeOutputs(const std::vector<OutputHeadConfig>& heads,
                       const std::string& action_head);
  bool IsWanted(std::size_t head, OutputMask wanted) const;
  // `values` [rows, width] become entry `entry` of the rows of an output.
  void CopyEntry(int output, int entry, absl::Span<const float> values,
                 StepResult* result) const;
  // `values` are what the action head gave for every row.
  void FillScores(absl::Span<const float> values, Scratch* scratch,
                  StepResult* result) const;

  const kernels::KernelSet& kernels_;
  std::int64_t hidden_dim_;
  std::vector<PlacedHead> heads_;
  std::vector<int> read_layers_;
  std::vector<OutputSpec> outputs_;
  int action_head_ = -1;  // index into heads_; -1: no actions
  std::int64_t num_actions_;
  ScoreRule score_rule_;
  int scores_output_ = -1;  // -1: no actions
  int hidden_output_ = 0;
  int hidden_layers_output_ = -1;  // -1: no head reads an inner layer
};

}  // namespace stepd

#endif  // STEPD_MODEL_HEADS_READOUT_H_
