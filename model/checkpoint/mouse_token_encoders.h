// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The numeric and text encoders of MOUSE v1 checkpoints: tokens one after
// another; fields that are absent or skipped have none.
//
// Source: docs/checkpoints.md, "MOUSE v1".
// Thread safety: reentrant. Errors go to the readers; the encoder is of no use
// then.

#ifndef STEPD_MODEL_CHECKPOINT_MOUSE_TOKEN_ENCODERS_H_
#define STEPD_MODEL_CHECKPOINT_MOUSE_TOKEN_ENCODERS_H_

#include <cstdint>

#include "model/checkpoint/config_reader.h"
#include "model/checkpoint/mouse_modality.h"
#include "model/checkpoint/weight_reader.h"

namespace stepd::checkpoint {

MouseEncoder ReadMouseNumericEncoder(std::int64_t hidden_dim,
                                     ConfigReader kwargs,
                                     const WeightReader& weights);

// Token ids in the order of a format string. What needs a tokenizer is refused;
// `has_tokenizer`: whether the checkpoint brings a tokenizer.json, for the
// reason.
MouseEncoder ReadMouseTextEncoder(std::int64_t hidden_dim, bool has_tokenizer,
                                  ConfigReader kwargs, WeightReader weights);

}  // namespace stepd::checkpoint

#endif  // STEPD_MODEL_CHECKPOINT_MOUSE_TOKEN_ENCODERS_H_
