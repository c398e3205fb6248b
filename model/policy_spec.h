// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What a policy reads and what it can answer: plain data, free of LibTorch, so
// that the server can validate requests and describe the policy to clients.
//
// Thread safety: plain values; const access from any thread.

#ifndef STEPD_MODEL_POLICY_SPEC_H_
#define STEPD_MODEL_POLICY_SPEC_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace stepd {

enum class DType : std::uint8_t {
  kBool,
  kUInt8,
  kInt32,
  kInt64,
  kFloat16,
  kBFloat16,
  kFloat32,
  kFloat64,
};

// Bytes of one element.
std::int64_t SizeOf(DType dtype);
// The lower-case name NumPy uses: "int64", "float32", ...
absl::string_view Name(DType dtype);

// One named input of a step or of a session.
struct FieldSpec {
  std::string name;
  // How the policy reads it: kInt64, kFloat32 or kBool. The wire may carry any
  // dtype that converts without loss of meaning: a smaller integer for kInt64,
  // any real number for kFloat32.
  DType dtype = DType::kFloat32;
  // Of one step; {} is a scalar. A leading -1 varies from one to the next.
  std::vector<std::int64_t> shape;
  // Inclusive bounds of every element.
  std::optional<std::int64_t> min;
  std::optional<std::int64_t> max;
  // False: a step (a session) may leave the field out.
  bool required = true;
  // kInt64 only: what the values mean, value i is value_names[i]; empty: they
  // have no names.
  std::vector<std::string> value_names;
  // The ragged field, an earlier one, that has as many entries in every step;
  // empty: the leading size is the field's own.
  std::string same_length_as;

  bool is_ragged() const { return !shape.empty() && shape.front() < 0; }
  // Elements of one step; of one leading entry when ragged.
  std::int64_t num_elements() const;
};

// One named output of a step; always float32.
struct OutputSpec {
  std::string name;
  std::vector<std::int64_t> shape;  // of one step; {} is a scalar

  std::int64_t num_elements() const;
};

// Index of the field of this name, or -1.
int FindField(const std::vector<FieldSpec>& fields, absl::string_view name);

// What one layer of the decoder is and costs; shown to people.
struct LayerSpec {
  int stage = 0;       // counted from 0
  int num_visits = 1;  // how often a forward runs it

  std::string attention;  // "gqa", "mla", "linear", "no-op"
  int num_heads = 0;      // 0: it has none
  int num_kv_heads = 0;
  int head_dim = 0;  // of a cached key
  // Tokens before it that bear on what a token gets here, in one visit; -1: all
  // of the context.
  std::int64_t window = 0;

  std::string ffn;           // "dense", "moe", "linear", "no-op"
  std::int64_t ffn_dim = 0;  // of each expert, if there are any; 0: none
  int num_experts = 0;       // that a token is routed among
  int experts_per_token = 0;
  int num_shared_experts = 0;  // that see every token

  int num_banks = 1;  // of weights, of which a token meets one

  std::int64_t num_parameters = 0;
  std::int64_t kv_bytes_per_token = 0;  // of all visits
};

struct PolicySpec {
  // Shown to people: the checkpoint format, and the shape in a few words.
  std::string format;
  std::string summary;

  std::vector<FieldSpec> fields;
  // Inputs of a whole session (images, masks, conditions): given once, with
  // the Step that opens it.
  std::vector<FieldSpec> session_fields;
  // Everything a Step can ask for by name; at most 64, so that a set of
  // outputs is a bit mask.
  std::vector<OutputSpec> outputs;
  // The readout that the action scores come from; empty: there are no actions.
  std::string action_head;
  std::int64_t num_actions = 0;
  // Index into `outputs` of a value for every action, as Q-learning has; -1:
  // there is none.
  int q_output = -1;

  int min_tokens_per_step = 1;
  int max_tokens_per_step = 1;  // -1: as many as its fields have entries
  // Tokens that every session begins with, made of its session inputs: they
  // are computed together with the first step.
  int num_prefix_tokens = 0;
  // An answer is computed from the whole log up to its step, which must be the
  // last of its slice: keys and values of a later forward would be others.
  bool recomputes = false;
  // Positions the policy can tell apart; 0 = no limit.
  std::int64_t max_tokens = 0;

  std::int64_t num_parameters = 0;
  std::int64_t weight_bytes = 0;
  std::string device;   // "cpu", "cuda:0"
  std::string dtype;    // of weights: "float32", "bfloat16"
  std::string kernels;  // which ones, in a few words

  std::vector<LayerSpec> layers;

  // KV cache: every block holds this many tokens of one session.
  int tokens_per_block = 16;
  std::int64_t kv_bytes_per_token = 0;

  std::int64_t kv_bytes_per_block() const {
    return kv_bytes_per_token * tokens_per_block;
  }
  // Tokens before a step's that bear on its answer; -1: all of the context.
  std::int64_t reach() const;
  // Index into `outputs`, or -1.
  int FindOutput(absl::string_view name) const;
};

// What distinguishes two policies besides their weights, for people ("field
// \"x\": shape [3], not [4]"); empty: nothing, so that sessions, blocks and
// encoded steps of one can be the other's.
std::string FindDifference(const PolicySpec& a, const PolicySpec& b);

}  // namespace stepd

#endif  // STEPD_MODEL_POLICY_SPEC_H_
