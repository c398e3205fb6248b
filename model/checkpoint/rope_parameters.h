// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The `rope_parameters` that configs in the style of Hugging Face carry, as
// frequencies. Rounds as the original does, operation by operation in float32,
// because an angle is a frequency times a position.
//
// Source: RoFormer (arXiv:2104.09864); position interpolation
// (arXiv:2306.15595, "linear"); YaRN (arXiv:2309.00071); the Llama 3.1 model
// card ("llama3"). Formulas: docs/checkpoints.md.
// Thread safety: reentrant.

#ifndef STEPD_MODEL_CHECKPOINT_ROPE_PARAMETERS_H_
#define STEPD_MODEL_CHECKPOINT_ROPE_PARAMETERS_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "model/checkpoint/config_reader.h"
#include "model/decoder/decoder_config.h"

namespace stepd::checkpoint {

struct RopeGeometry {
  std::int64_t head_dim = 0;       // even
  std::int64_t max_positions = 0;  // max_position_embeddings of the decoder
};

// Frequency i is theta^(-2i / head_dim): of the type "default".
std::vector<float> DefaultFrequencies(double theta, std::int64_t head_dim);

// `parameters` absent: the default frequencies with theta 10000. Errors go to
// `parameters`: an unknown type or key, a missing or senseless value, and the
// types dynamic and longrope, whose frequencies depend on later calls.
RopeConfig ReadRopeParameters(std::optional<ConfigReader> parameters,
                              const RopeGeometry& geometry);

}  // namespace stepd::checkpoint

#endif  // STEPD_MODEL_CHECKPOINT_ROPE_PARAMETERS_H_
