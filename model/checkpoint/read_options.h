// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What may be asked of a checkpoint besides reading it as it is. Free of
// LibTorch.
//
// Thread safety: plain values.

#ifndef STEPD_MODEL_CHECKPOINT_READ_OPTIONS_H_
#define STEPD_MODEL_CHECKPOINT_READ_OPTIONS_H_

#include <optional>

namespace stepd::checkpoint {

// Layers [begin, end), counted from 0.
struct LayerRange {
  int begin = 0;
  int end = 0;
};

// What becomes of NaN and infinities in the tensors that are taken.
enum class NonFiniteWeights { kPass, kRefuse };

struct ReadOptions {
  // Reads a part of the model, and nothing of the rest. Without the first
  // layer it takes rows of the residual stream (the field `inputs_embeds`);
  // without the last one it has no final norm and no head, and its output
  // `hidden` is the residual stream, for the part that goes on from there.
  std::optional<LayerRange> layers;
  // How often looped stages run; 0: as the checkpoint says.
  int num_loops = 0;
  NonFiniteWeights non_finite = NonFiniteWeights::kPass;
};

}  // namespace stepd::checkpoint

#endif  // STEPD_MODEL_CHECKPOINT_READ_OPTIONS_H_
