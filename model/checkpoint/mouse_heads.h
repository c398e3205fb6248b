// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The readout that all MOUSE checkpoints share.
//
// Source: docs/checkpoints.md, "MOUSE".
// Thread safety: reentrant.

#ifndef STEPD_MODEL_CHECKPOINT_MOUSE_HEADS_H_
#define STEPD_MODEL_CHECKPOINT_MOUSE_HEADS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "model/checkpoint/weight_reader.h"
#include "model/heads/head_config.h"

namespace stepd::checkpoint {

// SwiGLU layers of width `hidden_dim` and a last linear layer.
struct MouseHeadShape {
  std::int64_t in_dim = 0;
  std::int64_t hidden_dim = 0;
  std::int64_t num_layers = 0;  // at least one
  bool has_norm = true;
  std::vector<std::int64_t> output;  // shape; its product is the last width
};

// Errors go to the reader; the description is of no use then.
OutputHeadConfig ReadMouseHead(std::string name, const MouseHeadShape& shape,
                               WeightReader weights);

// The two networks of a value head, "online" and "target": the heads `name`
// and `name`_target.
std::vector<OutputHeadConfig> ReadMouseTwinHeads(const std::string& name,
                                                 const MouseHeadShape& shape,
                                                 const WeightReader& weights);

}  // namespace stepd::checkpoint

#endif  // STEPD_MODEL_CHECKPOINT_MOUSE_HEADS_H_
