// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// MOUSE checkpoints of the format "mouse-core-model-v1": steps of fields that
// the config lists, as a step, numeric or text encoder reads them; a Llama,
// Qwen3 or identity backbone; heads that the config lists.
//
// Source: docs/checkpoints.md, "MOUSE v1".

#ifndef STEPD_MODEL_CHECKPOINT_MOUSE_V1_H_
#define STEPD_MODEL_CHECKPOINT_MOUSE_V1_H_

#include "model/checkpoint/format.h"

namespace stepd::checkpoint {

extern const Format kMouseV1;

}  // namespace stepd::checkpoint

#endif  // STEPD_MODEL_CHECKPOINT_MOUSE_V1_H_
