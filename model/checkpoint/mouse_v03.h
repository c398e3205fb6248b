// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// MOUSE checkpoints as the versions 0.1 and 0.3 of that library save them
// ("dialect A"): steps of RL fields, a Llama, Qwen3 or no backbone, up to four
// heads. Stricter than the original, which loads what does not fit in silence.
//
// Source: docs/checkpoints.md, "MOUSE v0.3".

#ifndef STEPD_MODEL_CHECKPOINT_MOUSE_V03_H_
#define STEPD_MODEL_CHECKPOINT_MOUSE_V03_H_

#include "model/checkpoint/format.h"

namespace stepd::checkpoint {

extern const Format kMouseV03;

}  // namespace stepd::checkpoint

#endif  // STEPD_MODEL_CHECKPOINT_MOUSE_V03_H_
