// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// A readout with its weights resident on the device, and the rule that turns
// a readout into action scores.
//
// Thread safety: thread-safe once built.

#ifndef STEPD_MODEL_HEADS_OUTPUT_HEAD_H_
#define STEPD_MODEL_HEADS_OUTPUT_HEAD_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "model/heads/head_config.h"
#include "model/kernels/kernel_set.h"
#include "model/layers/norm.h"
#include "model/layers/scratch.h"

namespace stepd {

class OutputHead {
 public:
  OutputHead(const OutputHeadConfig& config, const kernels::KernelSet& kernels);

  std::int64_t out_dim() const { return layers_.back()->out_dim(); }
  // Scratch floats for `rows` rows, the result included.
  std::int64_t ScratchSize(std::int64_t rows) const;

  // Reads hidden rows x [rows, D] on the device; `host` [rows, out_dim()].
  void Forward(const kernels::KernelSet& kernels, const float* x,
               std::int64_t rows, Scratch* scratch, float* host) const;

 private:
  std::optional<Norm> norm_;
  std::vector<std::unique_ptr<kernels::PackedLinear>> layers_;
};

// ScoreRule::kVectorAngles: scores [num_actions] from one vector per action,
// vectors [num_actions, dim], dim even.
void ScoreVectorAngles(absl::Span<const float> vectors, std::int64_t dim,
                       Scratch* scratch, absl::Span<float> scores);

}  // namespace stepd

#endif  // STEPD_MODEL_HEADS_OUTPUT_HEAD_H_
