// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Checkpoints of noether's untied transformer blocks, served as a causal
// decoder over typed tokens (docs/checkpoints.md).
//
// Thread safety: reentrant.

#ifndef STEPD_MODEL_CHECKPOINT_NOETHER_UNTIED_H_
#define STEPD_MODEL_CHECKPOINT_NOETHER_UNTIED_H_

#include "model/checkpoint/format.h"

namespace stepd::checkpoint {

extern const Format kNoetherUntied;

}  // namespace stepd::checkpoint

#endif  // STEPD_MODEL_CHECKPOINT_NOETHER_UNTIED_H_
