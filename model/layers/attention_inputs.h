// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What a decoder hands to an attention layer besides the rows.

#ifndef STEPD_MODEL_LAYERS_ATTENTION_INPUTS_H_
#define STEPD_MODEL_LAYERS_ATTENTION_INPUTS_H_

#include "model/kernels/kernel_set.h"
#include "model/layers/scratch.h"

namespace stepd {

// Borrowed for the duration of one layer.
struct AttentionInputs {
  const kernels::BatchLayout* layout = nullptr;
  kernels::RopeRows rope;  // of the layer's own RopeConfig
  kernels::KvSlot slot;    // of this layer visit
  Scratch* scratch = nullptr;
};

}  // namespace stepd

#endif  // STEPD_MODEL_LAYERS_ATTENTION_INPUTS_H_
