// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What a session's condition makes of a layer's norms and gates (adaptive
// layer norm, arXiv:2212.09748).
//
// Thread safety: thread-safe once built.

#ifndef STEPD_MODEL_LAYERS_MODULATION_H_
#define STEPD_MODEL_LAYERS_MODULATION_H_

#include <cstdint>
#include <memory>

#include "model/decoder/decoder_config.h"
#include "model/kernels/kernel_set.h"

namespace stepd {

class Modulation {
 public:
  Modulation(const ModulationConfig& config, const kernels::KernelSet& kernels);

  std::int64_t condition_dim() const { return project_->in_dim(); }
  // Where in the numbers those of the source's norm begin.
  std::int64_t source_offset() const { return source_offset_; }
  // Numbers that a condition becomes.
  std::int64_t size() const { return project_->out_dim(); }

  // out [size()] of condition [condition_dim()], both on the device: the
  // vectors of ModulationConfig in their order, with 1 added to the scales.
  void Prepare(const kernels::KernelSet& kernels, const float* condition,
               float* out) const;

 private:
  std::int64_t source_offset_;
  std::unique_ptr<kernels::PackedLinear> project_;
};

}  // namespace stepd

#endif  // STEPD_MODEL_LAYERS_MODULATION_H_
