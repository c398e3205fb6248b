// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Llama, Qwen2 and Qwen3 checkpoints in the layout of Hugging Face, whole or
// pruned layer by layer (Puzzletron: `block_configs`, `per_layer_config`).
// Section "Hugging Face and Puzzletron" of docs/checkpoints.md.

#ifndef STEPD_MODEL_CHECKPOINT_HUGGING_FACE_H_
#define STEPD_MODEL_CHECKPOINT_HUGGING_FACE_H_

#include "model/checkpoint/format.h"

namespace stepd::checkpoint {

extern const Format kHuggingFace;

}  // namespace stepd::checkpoint

#endif  // STEPD_MODEL_CHECKPOINT_HUGGING_FACE_H_
