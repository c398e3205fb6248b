// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Attention and feed-forward weights under the names that most formats share:
// q_proj, k_proj, v_proj, o_proj, q_norm, k_norm; gate_proj, up_proj,
// down_proj.
//
// Thread safety: reentrant. Errors: kept by the WeightReader.

#ifndef STEPD_MODEL_CHECKPOINT_PROJECTIONS_H_
#define STEPD_MODEL_CHECKPOINT_PROJECTIONS_H_

#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"
#include "model/checkpoint/weight_reader.h"
#include "model/decoder/decoder_config.h"

namespace stepd::checkpoint {

struct GqaShape {
  std::int64_t dim = 0;  // D
  std::int64_t num_heads = 0;
  std::int64_t num_kv_heads = 0;
  std::int64_t head_dim = 0;
  Bias qkv_bias = Bias::kAbsent;
  Bias o_bias = Bias::kAbsent;
  std::optional<double> qk_norm_eps;  // nullopt: no norms of queries and keys
};

// One bank; `suffix` follows the name of each projection and norm.
GqaWeights ReadGqaBank(const GqaShape& shape, absl::string_view suffix,
                       WeightReader weights);

// Everything but rope and window; with this bank alone.
GqaConfig ReadGqa(const GqaShape& shape, absl::string_view suffix,
                  WeightReader weights);
inline GqaConfig ReadGqa(const GqaShape& shape, WeightReader weights) {
  return ReadGqa(shape, "", weights);
}

// With a gate.
DenseFfnConfig ReadGatedFfn(std::int64_t dim, std::int64_t ffn_dim, Bias bias,
                            WeightReader weights);

}  // namespace stepd::checkpoint

#endif  // STEPD_MODEL_CHECKPOINT_PROJECTIONS_H_
