// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The step encoder of MOUSE v1 checkpoints: a fixed number of tokens per step;
// the contents of the modalities are added or concatenated.
//
// Source: docs/checkpoints.md, "MOUSE v1".
// Thread safety: reentrant. Errors go to the readers; the encoder is of no use
// then.

#ifndef STEPD_MODEL_CHECKPOINT_MOUSE_STEP_ENCODER_H_
#define STEPD_MODEL_CHECKPOINT_MOUSE_STEP_ENCODER_H_

#include <cstdint>

#include "model/checkpoint/config_reader.h"
#include "model/checkpoint/mouse_modality.h"
#include "model/checkpoint/weight_reader.h"

namespace stepd::checkpoint {

MouseEncoder ReadMouseStepEncoder(std::int64_t hidden_dim, ConfigReader kwargs,
                                  const WeightReader& weights);

}  // namespace stepd::checkpoint

#endif  // STEPD_MODEL_CHECKPOINT_MOUSE_STEP_ENCODER_H_
