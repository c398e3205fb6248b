// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// OpenMythos checkpoints: a recurrent-depth decoder over tokens - prelude
// layers, one block looped with injection, halting and per-loop LoRA, coda
// layers. Section "OpenMythos" of docs/checkpoints.md.

#ifndef STEPD_MODEL_CHECKPOINT_OPEN_MYTHOS_H_
#define STEPD_MODEL_CHECKPOINT_OPEN_MYTHOS_H_

#include "model/checkpoint/format.h"

namespace stepd::checkpoint {

extern const Format kOpenMythos;

}  // namespace stepd::checkpoint

#endif  // STEPD_MODEL_CHECKPOINT_OPEN_MYTHOS_H_
