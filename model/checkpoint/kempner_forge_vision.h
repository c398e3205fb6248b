// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// KempnerForge models that see images: the keys "vlm", "adapter" and
// "num_image_tokens", and how each architecture takes the image's vectors in.
//
// Thread safety: reentrant. Errors: kept by the readers.

#ifndef STEPD_MODEL_CHECKPOINT_KEMPNER_FORGE_VISION_H_
#define STEPD_MODEL_CHECKPOINT_KEMPNER_FORGE_VISION_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/checkpoint/config_reader.h"
#include "model/checkpoint/kempner_forge_model.h"
#include "model/checkpoint/weight_reader.h"
#include "model/kinds.h"
#include "model/policy_description.h"

namespace stepd::checkpoint::kempner_forge {

// Of features to vectors of the model's width.
struct AdapterConfig {
  std::string type;  // "linear", "mlp_2layer"
  std::int64_t in_dim = 0;
  std::int64_t hidden_dim = 0;  // mlp_2layer
  Activation activation = Activation::kGelu;
};

struct VisionConfig {
  std::string arch;  // "joint_decoder", "cross_attention", "mot", "moma"
  std::int64_t num_image_tokens = 0;
  std::optional<AdapterConfig> adapter;  // nullopt: vectors are given
  // cross_attention: a block after every so many layers.
  std::int64_t every_n_layers = 0;
  std::int64_t num_heads = 0;
  std::int64_t num_kv_heads = 0;
  // moma
  std::int64_t num_image_experts = 0;
  std::int64_t num_text_experts = 0;
  double image_capacity_factor = 0;
  double text_capacity_factor = 0;
};

// nullopt: a text model.
std::optional<VisionConfig> ReadVisionConfig(const Shape& shape,
                                             ConfigReader* config);

// Adds session inputs, prefix or source, and the decoder. `all` reads the
// checkpoint from its root, `weights` from the text model's.
// REQUIRES: the policy has its token fields.
void ReadVision(const Shape& shape, const VisionConfig& vision,
                WeightReader all, WeightReader weights,
                PolicyDescription* policy);

}  // namespace stepd::checkpoint::kempner_forge

#endif  // STEPD_MODEL_CHECKPOINT_KEMPNER_FORGE_VISION_H_
