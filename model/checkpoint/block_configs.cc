// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/block_configs.h"

#include <cstddef>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace stepd::checkpoint {
namespace {

using nlohmann::json;

// Refuses what no decoder here can run, says what is left.
BlockPart ReadPart(ConfigReader* part) {
  for (const char* key : {"mamba", "llama4", "moe", "sparsify"}) {
    if (part->Has(key)) part->Fail(key, "is not supported");
  }
  const bool is_no_op = part->OptionalBool("no_op", false);
  const bool is_linear = part->OptionalBool("replace_with_linear", false);
  if (is_no_op && is_linear) {
    part->Fail("replace_with_linear", "contradicts no_op");
  }
  if (is_no_op) return BlockPart::kNoOp;
  return is_linear ? BlockPart::kLinear : BlockPart::kWhole;
}

Block ReadBlock(ConfigReader* config) {
  if (config->Has("parallel_blocks")) {
    config->Fail("parallel_blocks", "is not supported");
  }
  config->Ignore("parallel_blocks");
  ConfigReader attention = config->RequireObject("attention");
  ConfigReader ffn = config->RequireObject("ffn");
  config->RefuseOtherKeys();
  Block block;
  block.attention = ReadPart(&attention);
  block.ffn = ReadPart(&ffn);
  if (block.attention == BlockPart::kWhole) {
    block.num_kv_heads = attention.RequireInt("num_key_value_heads");
  }
  if (block.ffn == BlockPart::kWhole) {
    block.ffn_dim = ffn.RequireInt("intermediate_size");
  }
  return block;
}

// An entry of the sparse schema: {overrides, "skip": ["attention", "mlp"]}.
void OverrideBlock(const json& config, ConfigReader* reader, Block* block) {
  block->num_kv_heads =
      reader->OptionalInt("num_key_value_heads", block->num_kv_heads);
  block->ffn_dim = reader->OptionalInt("intermediate_size", block->ffn_dim);
  reader->Ignore("skip");
  reader->RefuseOtherKeys();
  if (!reader->Has("skip")) return;
  if (!config["skip"].is_array()) reader->Fail("skip", "must be an array");
  for (const json& skipped : config["skip"]) {
    if (skipped == "attention") {
      block->attention = BlockPart::kNoOp;
    } else if (skipped == "mlp") {
      block->ffn = BlockPart::kNoOp;
    } else {
      reader->Fail("skip", "has an entry that is neither attention nor mlp");
    }
  }
}

// The sparse schema: {"<layer>": entry}.
void OverrideBlocks(const json& config, ConfigReader* reader,
                    std::vector<Block>* blocks) {
  for (const auto& [number, overrides] : config.items()) {
    ConfigReader entry = reader->RequireObject(number);
    std::size_t layer = 0;
    if (!absl::SimpleAtoi(number, &layer) || layer >= blocks->size()) {
      reader->Fail(number,
                   absl::StrCat("is none of the ", blocks->size(), " layers"));
    }
    if (!reader->ok()) return;
    OverrideBlock(overrides, &entry, &(*blocks)[layer]);
  }
}

// One entry for every layer; surplus ones are of no layer.
void ReplaceBlocks(ConfigReader* reader, std::vector<Block>* blocks) {
  std::vector<ConfigReader> entries = reader->RequireObjects("block_configs");
  if (entries.size() < blocks->size()) {
    reader->Fail("block_configs", absl::StrCat("has ", entries.size(),
                                               " entries, but there are ",
                                               blocks->size(), " layers"));
    return;
  }
  for (std::size_t i = 0; i < blocks->size() && reader->ok(); ++i) {
    (*blocks)[i] = ReadBlock(&entries[i]);
  }
}

}  // namespace

void ReadBlocks(const json& config, ConfigReader* reader,
                std::vector<Block>* blocks) {
  if (auto sparse = reader->OptionalObject("per_layer_config")) {
    if (reader->ok()) {
      OverrideBlocks(config["per_layer_config"], &*sparse, blocks);
    }
  } else if (reader->Has("block_configs")) {
    ReplaceBlocks(reader, blocks);
  }
}

}  // namespace stepd::checkpoint
