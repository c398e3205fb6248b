// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/weight_groups.h"

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/strip.h"

namespace stepd::checkpoint {

std::optional<WeightGroup> FindWeightGroup(absl::string_view tensor) {
  if (tensor == "model.embed_tokens.weight") {
    return WeightGroup{WeightPart::kEmbeddings};
  }
  if (tensor == "model.norm.weight" || tensor == "lm_head.weight") {
    return WeightGroup{WeightPart::kLmHead};
  }
  if (!absl::ConsumePrefix(&tensor, "model.layers.")) return std::nullopt;
  const absl::string_view number = tensor.substr(0, tensor.find('.'));
  WeightGroup group;
  if (!absl::SimpleAtoi(number, &group.layer)) return std::nullopt;
  tensor.remove_prefix(number.size());
  if (tensor == ".input_layernorm.weight" ||
      absl::StartsWith(tensor, ".self_attn.")) {
    group.part = WeightPart::kAttention;
  } else if (tensor == ".post_attention_layernorm.weight" ||
             absl::StartsWith(tensor, ".mlp.")) {
    group.part = WeightPart::kFfn;
  } else {
    return std::nullopt;
  }
  return group;
}

}  // namespace stepd::checkpoint
