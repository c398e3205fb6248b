// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What all KempnerForge models share: the key "model" of their config and the
// parts of a layer.
//
// Thread safety: reentrant. Errors: kept by the readers.

#ifndef STEPD_MODEL_CHECKPOINT_KEMPNER_FORGE_MODEL_H_
#define STEPD_MODEL_CHECKPOINT_KEMPNER_FORGE_MODEL_H_

#include <cstdint>

#include "absl/strings/string_view.h"
#include "model/checkpoint/config_reader.h"
#include "model/checkpoint/weight_reader.h"
#include "model/decoder/decoder_config.h"

namespace stepd::checkpoint::kempner_forge {

struct Shape {
  std::int64_t dim = 0;
  std::int64_t num_layers = 0;
  std::int64_t num_heads = 0;
  std::int64_t num_kv_heads = 0;
  std::int64_t vocabulary = 0;
  std::int64_t max_tokens = 0;
  NormKind norm = NormKind::kRms;
  double norm_eps = 0;
  Activation activation = Activation::kSilu;
  double rope_theta = 0;
  bool has_tied_head = false;
  bool has_qk_norm = false;
  std::int64_t num_experts = 0;
  std::int64_t top_k = 0;
  std::int64_t moe_frequency = 0;
  RouterScores router = RouterScores::kSoftmax;
  bool has_shared_expert = false;
  bool has_packed_experts = false;
  double capacity_factor = 0;

  std::int64_t head_dim() const { return dim / num_heads; }
  bool is_moe(std::int64_t layer) const {
    return num_experts > 0 && (layer + 1) % moe_frequency == 0;
  }
};

// Of the key "model".
Shape ReadShape(ConfigReader* config);

// A norm of kind Shape::norm over `dim` numbers.
NormConfig ReadNorm(const Shape& shape, absl::string_view name,
                    WeightReader weights);

// Plain attention, and one bank of it. `bank` follows the name of each
// projection and norm: ".image" for q_proj.image.
GqaConfig ReadAttention(const Shape& shape, absl::string_view bank,
                        WeightReader weights);
GqaWeights ReadAttentionBank(const Shape& shape, absl::string_view bank,
                             WeightReader weights);

// Sizes are those of the tensors.
DenseFfnConfig ReadDense(const Shape& shape, WeightReader weights);
// Dense or experts, as Shape::is_moe() says.
FfnConfig ReadFfn(const Shape& shape, std::int64_t layer, WeightReader weights);

// One layer of a plain decoder.
LayerConfig ReadLayer(const Shape& shape, std::int64_t layer,
                      WeightReader weights);

}  // namespace stepd::checkpoint::kempner_forge

#endif  // STEPD_MODEL_CHECKPOINT_KEMPNER_FORGE_MODEL_H_
