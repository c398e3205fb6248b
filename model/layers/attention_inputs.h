// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What a decoder hands to an attention layer besides the rows.

#ifndef STEPD_MODEL_LAYERS_ATTENTION_INPUTS_H_
#define STEPD_MODEL_LAYERS_ATTENTION_INPUTS_H_

#include "absl/types/span.h"
#include "model/kernels/kernel_set.h"
#include "model/layers/pattern_attention.h"
#include "model/layers/scratch.h"

namespace stepd {

// Borrowed for the duration of one layer.
struct AttentionInputs {
  const kernels::BatchLayout* layout = nullptr;
  kernels::RopeRows rope;  // of the layer's own RopeConfig
  kernels::KvSlot slot;    // of this layer visit
  // [B] for a layer that reads sources: of this layer.
  absl::Span<const kernels::SourceKv> sources;
  // [B] of this layer: what Modulation::Prepare() gave of each session's
  // condition; empty: the layer has none.
  absl::Span<const float* const> modulations;
  // Not empty: rows attend by patterns instead of to their session's past.
  absl::Span<const AttentionPattern> patterns;
  Scratch* scratch = nullptr;
};

}  // namespace stepd

#endif  // STEPD_MODEL_LAYERS_ATTENTION_INPUTS_H_
