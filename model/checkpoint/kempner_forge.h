// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// KempnerForge checkpoints: dense and mixture-of-experts decoders over tokens.
// Section "KempnerForge" of docs/checkpoints.md.

#ifndef STEPD_MODEL_CHECKPOINT_KEMPNER_FORGE_H_
#define STEPD_MODEL_CHECKPOINT_KEMPNER_FORGE_H_

#include "model/checkpoint/format.h"

namespace stepd::checkpoint {

extern const Format kKempnerForge;

}  // namespace stepd::checkpoint

#endif  // STEPD_MODEL_CHECKPOINT_KEMPNER_FORGE_H_
