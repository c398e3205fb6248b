// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What is left of each layer of a pruned model: `block_configs`, an entry per
// layer, or the sparse `per_layer_config`, which wins over it.
// Source: Puzzle (arXiv:2411.19146).
//
// Thread safety: reentrant. Errors: kept by the ConfigReader; they name the
// layer and the key.

#ifndef STEPD_MODEL_CHECKPOINT_BLOCK_CONFIGS_H_
#define STEPD_MODEL_CHECKPOINT_BLOCK_CONFIGS_H_

#include <cstdint>
#include <vector>

#include "model/checkpoint/config_reader.h"
#include "nlohmann/json.hpp"

namespace stepd::checkpoint {

enum class BlockPart { kWhole, kNoOp, kLinear };

struct Block {
  BlockPart attention = BlockPart::kWhole;
  std::int64_t num_kv_heads = 0;  // of a whole attention
  BlockPart ffn = BlockPart::kWhole;
  std::int64_t ffn_dim = 0;  // of a whole feed-forward block
};

// `config` is what `reader` reads. `blocks` has one entry for every layer: what
// it is without these keys.
void ReadBlocks(const nlohmann::json& config, ConfigReader* reader,
                std::vector<Block>* blocks);

}  // namespace stepd::checkpoint

#endif  // STEPD_MODEL_CHECKPOINT_BLOCK_CONFIGS_H_
