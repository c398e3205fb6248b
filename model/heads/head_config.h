// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Readouts of a policy as data: what turns the hidden state of a step's last
// token into named outputs and action scores.
//
// Tensors as in decoder_config.h. Thread safety: plain values.

#ifndef STEPD_MODEL_HEADS_HEAD_CONFIG_H_
#define STEPD_MODEL_HEADS_HEAD_CONFIG_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/decoder/decoder_config.h"

namespace stepd {

// x = norm(x); for every layer but the last: u = W x + b, x = silu(first half
// of u) * second half; then y = W x + b.
struct OutputHeadConfig {
  std::string name;  // the output's name on the wire
  // Stacked heads of one name, one after another in the list and of one
  // shape, fill one output, e.g. {L, A}; the last of them gives the scores.
  bool is_stacked = false;
  std::vector<std::int64_t> shape;  // of the output, e.g. {A} or {A, V}
  std::optional<NormConfig> norm;
  std::vector<LinearWeights> layers;  // at least one
  // Reads the residual stream after this layer (counted over all stages)
  // instead of the decoder's output.
  std::optional<int> read_layer;
};

enum class ScoreRule {
  kOutput,  // the head's output is the scores
  // The output is one vector per action; an action's score is the sum of the
  // signed angles to every action's vector (formats page, "vector scores").
  kVectorAngles,
};

struct ActionConfig {
  std::string head;  // name of an OutputHeadConfig; empty: no actions
  ScoreRule rule = ScoreRule::kOutput;
  std::int64_t num_actions = 0;
};

}  // namespace stepd

#endif  // STEPD_MODEL_HEADS_HEAD_CONFIG_H_
