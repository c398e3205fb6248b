// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/projections.h"

namespace stepd::checkpoint {

GqaConfig ReadGqa(const GqaShape& shape, WeightReader weights) {
  const std::int64_t q_dim = shape.num_heads * shape.head_dim;
  const std::int64_t kv_dim = shape.num_kv_heads * shape.head_dim;
  GqaConfig gqa;
  gqa.num_heads = static_cast<int>(shape.num_heads);
  gqa.num_kv_heads = static_cast<int>(shape.num_kv_heads);
  gqa.head_dim = static_cast<int>(shape.head_dim);
  GqaWeights& bank = gqa.banks.emplace_back();
  bank.q = weights.Linear("q_proj", q_dim, shape.dim, shape.qkv_bias);
  bank.k = weights.Linear("k_proj", kv_dim, shape.dim, shape.qkv_bias);
  bank.v = weights.Linear("v_proj", kv_dim, shape.dim, shape.qkv_bias);
  bank.o = weights.Linear("o_proj", shape.dim, q_dim, shape.o_bias);
  if (shape.qk_norm_eps.has_value()) {
    bank.q_norm = weights.Norm("q_norm", shape.head_dim, *shape.qk_norm_eps);
    bank.k_norm = weights.Norm("k_norm", shape.head_dim, *shape.qk_norm_eps);
  }
  return gqa;
}

DenseFfnConfig ReadGatedFfn(std::int64_t dim, std::int64_t ffn_dim, Bias bias,
                            WeightReader weights) {
  DenseFfnConfig ffn;
  ffn.gate = weights.Linear("gate_proj", ffn_dim, dim, bias);
  ffn.up = weights.Linear("up_proj", ffn_dim, dim, bias);
  ffn.down = weights.Linear("down_proj", dim, ffn_dim, bias);
  return ffn;
}

}  // namespace stepd::checkpoint
