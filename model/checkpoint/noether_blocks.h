// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// noether's untied transformer blocks: their config and their weights, for
// served policies and for stacks that attend by patterns.
//
// Thread safety: reentrant. Errors: kept by the readers.

#ifndef STEPD_MODEL_CHECKPOINT_NOETHER_BLOCKS_H_
#define STEPD_MODEL_CHECKPOINT_NOETHER_BLOCKS_H_

#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"
#include "model/checkpoint/config_reader.h"
#include "model/checkpoint/weight_reader.h"
#include "model/decoder/decoder_config.h"
#include "model/linear_weights.h"

namespace stepd::checkpoint {

struct UntiedBlockShape {
  std::int64_t num_types = 0;
  std::int64_t dim = 0;
  std::int64_t num_heads = 0;
  std::int64_t mlp_dim = 0;
  std::int64_t condition_dim = 0;  // 0: none
  double eps = 0;
  bool has_bias = false;
  bool has_layer_scale = false;
  bool has_rope = false;
  std::int64_t rope_axes = 1;
  RopePairing rope_pairing = RopePairing::kHalfSplit;
  double max_wavelength = 0;
  // Square matrices are stored as [in, out].
  bool transposes_square = false;

  std::int64_t head_dim() const { return dim / num_heads; }
};

// Reads `num_types` and the objects `config` and `rope` of a config.
UntiedBlockShape ReadUntiedBlockShape(ConfigReader* config);

// Reads one block, whose attention is `attention` under `weights`. The layer
// scale is folded into the linears that it multiplies.
LayerConfig ReadUntiedBlock(const UntiedBlockShape& shape,
                            absl::string_view attention, WeightReader weights);

struct UntiedLinearShape {
  std::int64_t out = 0;
  std::int64_t in = 0;
  Bias bias = Bias::kPresent;
};

// The untied linear `name` of every type, one bank each; after an error fewer.
std::vector<LinearWeights> ReadUntiedLinear(const UntiedBlockShape& shape,
                                            absl::string_view name,
                                            const UntiedLinearShape& linear,
                                            WeightReader weights);

// Attention by itself, without a layer scale.
GqaConfig ReadUntiedAttention(const UntiedBlockShape& shape,
                              const WeightReader& weights);

// The attention of a perceiver block, over rows of `source_dim`, by itself.
CrossAttentionConfig ReadPerceiverAttention(const UntiedBlockShape& shape,
                                            std::int64_t source_dim,
                                            WeightReader weights);

// A perceiver block: its attention reads the session's source.
LayerConfig ReadPerceiverBlock(const UntiedBlockShape& shape,
                               std::int64_t source_dim, WeightReader weights);

}  // namespace stepd::checkpoint

#endif  // STEPD_MODEL_CHECKPOINT_NOETHER_BLOCKS_H_
