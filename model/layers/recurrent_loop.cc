// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/layers/recurrent_loop.h"

#include <algorithm>
#include <cstddef>

#include "ATen/Functions.h"
#include "ATen/TensorOperators.h"

namespace stepd {

using kernels::KernelSet;
using kernels::LinearOutput;

RecurrentLoop::RecurrentLoop(const RecurrentLoopConfig& config,
                             const KernelSet& kernels)
    : num_loops_(config.num_loops),
      loop_embeddings_(kernels::ToDevice(kernels, config.loop_embeddings)),
      norm_(config.norm, kernels),
      decay_(kernels::ToDevice(kernels, config.decay)),
      injection_(kernels::ToDevice(kernels, config.injection)),
      lora_down_(kernels.Pack({config.lora_down})),
      halt_(kernels.PackFloat32({config.halt})),
      halt_threshold_(config.halt_threshold) {
  const std::int64_t last = config.lora_scale.size(0) - 1;
  const at::Tensor up = config.lora_up.to(at::kFloat).transpose(0, 1);
  for (std::int64_t t = 0; t < num_loops_; ++t) {
    const at::Tensor scale =
        config.lora_scale.select(0, std::min(t, last)).to(at::kFloat);
    lora_ups_.push_back(
        kernels.Pack({{(up * scale).contiguous(), at::Tensor()}}));
  }
}

std::int64_t RecurrentLoop::ScratchSize(std::int64_t num_tokens) const {
  return 3 * Scratch::Rounded(num_tokens * dim()) +
         2 * Scratch::Rounded(num_tokens) +
         Scratch::Rounded(num_tokens * lora_down_->out_dim());
}

RecurrentLoop::State RecurrentLoop::Begin(const KernelSet& kernels,
                                          const float* x, std::int64_t rows,
                                          Scratch* scratch) const {
  State state;
  state.rows = rows;
  state.entry = scratch->Take(rows * dim());
  state.hidden = scratch->Take(rows * dim());
  state.out = scratch->Take(rows * dim());
  state.spent = scratch->Take(rows);
  kernels.CopyColumns({x, dim(), state.entry, dim(), rows, dim()});
  kernels.CopyColumns({x, dim(), state.hidden, dim(), rows, dim()});
  kernels.Zero(state.out, rows * dim());
  kernels.Zero(state.spent, rows);
  return state;
}

void RecurrentLoop::Enter(const KernelSet& kernels, const State& state, int t,
                          float* y) const {
  const std::int64_t columns = loop_embeddings_.size(1);
  kernels.LoopInput({state.rows, dim(), state.entry, state.hidden},
                    loop_embeddings_.const_data_ptr<float>() + t * columns,
                    columns, y);
  norm_.Apply(kernels, y, state.rows, y);
}

void RecurrentLoop::Leave(const KernelSet& kernels, const State& state, int t,
                          Scratch* scratch, float* y) const {
  const Scratch::Scope scope(scratch);
  float* down = scratch->Take(state.rows * lora_down_->out_dim());
  float* logits = scratch->Take(state.rows);
  kernels.Linear({lora_down_.get(), y, state.rows, down});
  kernels.Linear({lora_ups_[static_cast<std::size_t>(t)].get(), down,
                  state.rows, y, LinearOutput::kAdd});
  const KernelSet::LoopRows rows = {state.rows, dim(), state.entry,
                                    state.hidden};
  kernels.LoopUpdate(rows, decay_.const_data_ptr<float>(),
                     injection_.const_data_ptr<float>(), y);
  kernels.Linear({halt_.get(), state.hidden, state.rows, logits});
  kernels.LoopHalt(rows, logits, halt_threshold_, state.spent, state.out);
}

bool RecurrentLoop::HasEnded(const KernelSet& kernels, const State& state,
                             Scratch* scratch) const {
  const Scratch::Scope scope(scratch);
  const auto spent =
      scratch->TakeHost<float>(static_cast<std::size_t>(state.rows));
  kernels.CopyToHost(state.spent, state.rows, spent.data());
  kernels.Synchronize();
  return std::all_of(spent.begin(), spent.end(),
                     [this](float s) { return s >= halt_threshold_; });
}

}  // namespace stepd
