// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/projections.h"

#include "absl/strings/str_cat.h"

namespace stepd::checkpoint {

GqaWeights ReadGqaBank(const GqaShape& shape, absl::string_view suffix,
                       WeightReader weights) {
  const std::int64_t q_dim = shape.num_heads * shape.head_dim;
  const std::int64_t kv_dim = shape.num_kv_heads * shape.head_dim;
  const auto linear = [&](absl::string_view name, std::int64_t out,
                          std::int64_t in, Bias bias) {
    return weights.Linear(absl::StrCat(name, suffix), out, in, bias);
  };
  const auto norm = [&](absl::string_view name) {
    return weights.Norm(absl::StrCat(name, suffix), shape.head_dim,
                        *shape.qk_norm_eps);
  };
  GqaWeights bank;
  bank.q = linear("q_proj", q_dim, shape.dim, shape.qkv_bias);
  bank.k = linear("k_proj", kv_dim, shape.dim, shape.qkv_bias);
  bank.v = linear("v_proj", kv_dim, shape.dim, shape.qkv_bias);
  bank.o = linear("o_proj", shape.dim, q_dim, shape.o_bias);
  if (shape.qk_norm_eps.has_value()) {
    bank.q_norm = norm("q_norm");
    bank.k_norm = norm("k_norm");
  }
  return bank;
}

GqaConfig ReadGqa(const GqaShape& shape, absl::string_view suffix,
                  WeightReader weights) {
  GqaConfig gqa;
  gqa.num_heads = static_cast<int>(shape.num_heads);
  gqa.num_kv_heads = static_cast<int>(shape.num_kv_heads);
  gqa.head_dim = static_cast<int>(shape.head_dim);
  gqa.banks.push_back(ReadGqaBank(shape, suffix, weights));
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
