// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The decoder that all MOUSE checkpoints share: a Llama or Qwen3 body without
// a final norm.
//
// Source: docs/checkpoints.md, "MOUSE".
// Thread safety: reentrant.

#ifndef STEPD_MODEL_CHECKPOINT_MOUSE_BACKBONE_H_
#define STEPD_MODEL_CHECKPOINT_MOUSE_BACKBONE_H_

#include <cstdint>

#include "model/checkpoint/config_reader.h"
#include "model/checkpoint/weight_reader.h"
#include "model/decoder/decoder_config.h"

namespace stepd::checkpoint {

enum class MouseBackboneKind { kLlama, kQwen3 };

// `kwargs` are the backbone's own; `weights` begin with embed_tokens and
// layers. Errors go to the readers; the description is of no use then.
DecoderConfig ReadMouseBackbone(MouseBackboneKind kind, std::int64_t hidden_dim,
                                ConfigReader kwargs, WeightReader weights);

}  // namespace stepd::checkpoint

#endif  // STEPD_MODEL_CHECKPOINT_MOUSE_BACKBONE_H_
