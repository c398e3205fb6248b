// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The groups of weights that subblock shards keep in a file each: embeddings,
// lm_head (with the final norm), block_<i>_attention and block_<i>_ffn.
// Source: Puzzletron's subblock shards; names as in Hugging Face's layout.
//
// Thread safety: pure functions.

#ifndef STEPD_MODEL_CHECKPOINT_WEIGHT_GROUPS_H_
#define STEPD_MODEL_CHECKPOINT_WEIGHT_GROUPS_H_

#include <optional>

#include "absl/strings/string_view.h"

namespace stepd::checkpoint {

enum class WeightPart { kEmbeddings, kLmHead, kAttention, kFfn };

struct WeightGroup {
  WeightPart part = WeightPart::kEmbeddings;
  int layer = -1;  // of kAttention and kFfn
};

// The norm before a block belongs to the block. nullopt: of no group.
std::optional<WeightGroup> FindWeightGroup(absl::string_view tensor);

}  // namespace stepd::checkpoint

#endif  // STEPD_MODEL_CHECKPOINT_WEIGHT_GROUPS_H_
