// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/embedders/embed_program.h"

#include <numeric>

namespace stepd {

void EmbedProgram::Add(std::int32_t content, std::int64_t first_row,
                       std::int64_t argument) {
  const std::int64_t width = contents_[static_cast<std::size_t>(content)].width;
  for (std::int64_t column = 0; column < width; column += dim_) {
    rows_.push_back(first_row + column / dim_);
    entries_.push_back({content, static_cast<std::int32_t>(column), argument});
  }
}

void EmbedProgram::Run(const kernels::KernelSet& kernels, std::int64_t num_rows,
                       float* x) {
  // By row, those of one row in the order in which they were added.
  std::vector<std::int32_t> indptr(static_cast<std::size_t>(num_rows) + 1, 0);
  for (const std::int64_t row : rows_) {
    ++indptr[static_cast<std::size_t>(row) + 1];
  }
  std::partial_sum(indptr.begin(), indptr.end(), indptr.begin());
  std::vector<std::int32_t> next(indptr.begin(), indptr.end() - 1);
  std::vector<kernels::EmbedEntry> sorted(entries_.size());
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    const auto place = next[static_cast<std::size_t>(rows_[i])]++;
    sorted[static_cast<std::size_t>(place)] = entries_[i];
  }
  kernels::EmbedRowsParams params;
  params.contents = contents_;
  params.row_indptr = indptr;
  params.entries = sorted;
  params.inputs = inputs_;
  params.dim = dim_;
  params.x = x;
  kernels.EmbedRows(params);
}

}  // namespace stepd
