// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What a recurrent stage does around its layers, loop by loop
// (RecurrentLoopConfig in decoder_config.h has the formulas).
//
// Thread safety: thread-safe once built; the rows of a batch are in LoopState.

#ifndef STEPD_MODEL_LAYERS_RECURRENT_LOOP_H_
#define STEPD_MODEL_LAYERS_RECURRENT_LOOP_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "ATen/core/Tensor.h"
#include "model/decoder/decoder_config.h"
#include "model/kernels/kernel_set.h"
#include "model/layers/norm.h"
#include "model/layers/scratch.h"

namespace stepd {

class RecurrentLoop {
 public:
  // The rows of one batch while a stage loops; scratch memory.
  struct State {
    std::int64_t rows = 0;
    float* entry = nullptr;   // e [rows, D]
    float* hidden = nullptr;  // h [rows, D]
    float* out = nullptr;     // [rows, D]
    float* spent = nullptr;   // halting probability so far [rows]
  };

  RecurrentLoop(const RecurrentLoopConfig& config,
                const kernels::KernelSet& kernels);

  int num_loops() const { return num_loops_; }
  // Scratch floats for `num_tokens` rows.
  std::int64_t ScratchSize(std::int64_t num_tokens) const;

  // Before the first loop: e = h = x, nothing spent.
  State Begin(const kernels::KernelSet& kernels, const float* x,
              std::int64_t rows, Scratch* scratch) const;
  // What the stage's layers run on in loop `t`; y [rows, D].
  void Enter(const kernels::KernelSet& kernels, const State& state, int t,
             float* y) const;
  // Takes the layers' answer y, which it changes.
  void Leave(const kernels::KernelSet& kernels, const State& state, int t,
             Scratch* scratch, float* y) const;
  // Whether no row's answer can change any more.
  bool HasEnded(const kernels::KernelSet& kernels, const State& state,
                Scratch* scratch) const;

 private:
  std::int64_t dim() const { return decay_.numel(); }

  int num_loops_;
  at::Tensor loop_embeddings_;  // [num_loops, columns]
  Norm norm_;
  at::Tensor decay_;                                  // [D]
  at::Tensor injection_;                              // [D]
  std::unique_ptr<kernels::PackedLinear> lora_down_;  // [rank, D]
  // One per loop, its scale folded in: [D, rank].
  std::vector<std::unique_ptr<kernels::PackedLinear>> lora_ups_;
  std::unique_ptr<kernels::PackedLinear> halt_;  // [1, D]
  float halt_threshold_;
};

}  // namespace stepd

#endif  // STEPD_MODEL_LAYERS_RECURRENT_LOOP_H_
