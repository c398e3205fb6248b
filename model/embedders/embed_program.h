// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The contents of all fields of a batch as one list by token row, for kernel
// sets that embed a batch at once.
//
// Thread safety: none; one call to Embed() owns it.

#ifndef STEPD_MODEL_EMBEDDERS_EMBED_PROGRAM_H_
#define STEPD_MODEL_EMBEDDERS_EMBED_PROGRAM_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "model/kernels/kernel_set.h"

namespace stepd {

class EmbedProgram {
 public:
  // For rows of `dim` numbers. `contents` is borrowed.
  EmbedProgram(absl::Span<const kernels::EmbedContent> contents,
               std::int64_t dim)
      : contents_(contents), dim_(dim) {}

  // The content, with this argument, is added to the rows from `first_row` on,
  // as many as it is wide.
  void Add(std::int32_t content, std::int64_t first_row, std::int64_t argument);
  // Appends a number to the inputs; where they end is an argument of what
  // follows.
  void AddInput(float x) { inputs_.push_back(x); }
  std::int64_t num_inputs() const {
    return static_cast<std::int64_t>(inputs_.size());
  }

  // Writes x [num_rows, dim].
  // REQUIRES: no content reaches beyond it.
  void Run(const kernels::KernelSet& kernels, std::int64_t num_rows, float* x);

 private:
  absl::Span<const kernels::EmbedContent> contents_;
  std::int64_t dim_;
  // In the order of Add().
  std::vector<std::int64_t> rows_;
  std::vector<kernels::EmbedEntry> entries_;
  std::vector<float> inputs_;
};

}  // namespace stepd

#endif  // STEPD_MODEL_EMBEDDERS_EMBED_PROGRAM_H_
