// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Policies of random weights and steps of random values, for tests of
// properties that must hold whatever the numbers are.

#ifndef STEPD_TESTS_MODEL_SUPPORT_RANDOM_POLICY_H_
#define STEPD_TESTS_MODEL_SUPPORT_RANDOM_POLICY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "model/kinds.h"
#include "model/policy_description.h"
#include "model/policy_spec.h"

namespace stepd {

enum class AttentionKind { kGqa, kMla, kLinear, kNoOp, kCross };
enum class FfnKind { kDense, kMoe, kLinear, kNoOp };

struct RandomPolicyShape {
  std::string name;
  std::int64_t hidden_dim = 32;
  int num_layers = 2;
  // Of the layers, in turn.
  std::vector<AttentionKind> attention = {AttentionKind::kGqa};
  std::vector<FfnKind> ffn = {FfnKind::kDense};
  // More than 0: the layers are a stage that loops, and there is one more such
  // layer before and after it.
  int num_loops = 0;
  int num_heads = 4;
  int num_kv_heads = 2;
  int head_dim = 8;
  std::int64_t ffn_dim = 48;
  bool has_qk_norm = false;
  bool has_bias = false;
  std::int64_t window_left = -1;
  FieldLayout layout = FieldLayout::kSum;
  int tokens_per_field = 1;
  int num_compute_tokens = 0;
  // More than 1: the fields are "tokens" and "token_types", and every linear of
  // a layer exists once per type.
  int num_banks = 1;
  bool has_banked_norms = false;
  bool has_rope = true;
  // Of the kernel set that runs it.
  WeightPrecision precision = WeightPrecision::kFloat32;
  // A session's "scene" is tokens of the last bank, before its first step's.
  bool has_prefix = false;
  bool has_own_positions = false;  // PrefixTokens
  // More than 0: the session input "condition" (float32 [condition_dim]) sets
  // norms, which are of kind kLayer, and gates.
  std::int64_t condition_dim = 0;
  // Cross-attention norms the source and has rope.
  bool has_source_norm = false;
};

// Fields "action" (int64, 5 values), "obs" (float32 [3]) and "image" (float32
// [4]); or "tokens" (float32 [-1, D]) and "token_types" (int64 [-1]). Heads "q"
// [5] (the action head) and "value" [1]. Session inputs, for a prefix or for
// cross-attention: "scene" (float32 [5, 7]); for cross-attention "mask" too
// (bool [5]).
PolicyDescription MakeRandomPolicy(const RandomPolicyShape& shape, int seed);

// A shape that the seed decides: sizes, kinds of layers, loops.
RandomPolicyShape MakeRandomShape(int seed);

// Encoded steps for `fields`, all values in range; ragged fields have 1 to 5
// entries.
std::vector<std::string> MakeRandomSteps(const std::vector<FieldSpec>& fields,
                                         int count, int seed);

}  // namespace stepd

#endif  // STEPD_TESTS_MODEL_SUPPORT_RANDOM_POLICY_H_
