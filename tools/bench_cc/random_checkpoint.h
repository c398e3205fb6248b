// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Checkpoints of random weights in the shapes that benchmarks compare: what a
// policy costs does not depend on what it has learnt.
//
// Thread safety: reentrant.

#ifndef STEPD_TOOLS_BENCH_CC_RANDOM_CHECKPOINT_H_
#define STEPD_TOOLS_BENCH_CC_RANDOM_CHECKPOINT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace stepd::bench {

// A decoder of Llama's kind that reads action, obs_continuous, reward and done
// of a step as one token and answers with action values; float32.
struct PolicyShape {
  std::string name;
  std::int64_t hidden_dim = 0;
  std::int64_t num_layers = 0;
  std::int64_t num_heads = 0;
  std::int64_t num_kv_heads = 0;
  std::int64_t expand = 4;  // FFN width / hidden_dim
  std::int64_t head_hidden_dim = 0;
  std::int64_t num_head_layers = 2;
  std::int64_t num_observations = 16;
  std::int64_t num_actions = 6;
};

// reference (4.2 M parameters), small, tiny.
const std::vector<PolicyShape>& PolicyShapes();

// Errors: kInvalidArgument  there is no such shape; names those there are
absl::StatusOr<PolicyShape> FindPolicyShape(absl::string_view name);

// Of the weights that are measured: the same everywhere.
inline constexpr std::uint64_t kWeightsSeed = 3;

// Writes config.json and model.safetensors into `directory`, which exists. The
// same seed gives the same bytes.
// Errors: kUnavailable  a file cannot be written
absl::Status WriteRandomCheckpoint(const PolicyShape& shape, std::uint64_t seed,
                                   const std::string& directory);

}  // namespace stepd::bench

#endif  // STEPD_TOOLS_BENCH_CC_RANDOM_CHECKPOINT_H_
