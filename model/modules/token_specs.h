// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Inputs whose tokens come in named groups, one group after another, and who
// attends to whom among the groups.
//
// The domain of a group is its name up to the first '_'. A token's bank is the
// place of its group's domain in the order in which domains that have tokens
// appear.
//
// Thread safety: plain values, reentrant functions.
// Errors of all functions: kInvalidArgument, naming the group.

#ifndef STEPD_MODEL_MODULES_TOKEN_SPECS_H_
#define STEPD_MODEL_MODULES_TOKEN_SPECS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/layers/pattern_attention.h"

namespace stepd {

// `size` tokens in a row; nullopt: the group is not in the input.
struct TokenSpec {
  std::string name;
  std::optional<std::int64_t> size;
};

// The tokens of these groups attend to the tokens of those.
struct NamedPattern {
  std::vector<std::string> queries;
  std::vector<std::string> keys;
};

// The bank of each of `num_tokens` tokens.
// Errors: sizes that are no `num_tokens` in all, a name twice, a domain that is
// interrupted by another, more domains than banks
absl::StatusOr<std::vector<std::int32_t>> BanksOfTokens(
    absl::Span<const TokenSpec> specs, std::int64_t num_tokens, int num_banks);

// Domains that have tokens.
int CountDomains(absl::Span<const TokenSpec> specs);

// Every group attends to every group.
std::vector<NamedPattern> AllToAll(absl::Span<const TokenSpec> specs);

enum class AnchorAttention {
  kSelf,   // a branch attends to its own anchors
  kCross,  // to the anchors of every other branch
  kJoint,  // to the anchors of all branches
};

// Patterns of groups named "<branch>_<anything>", where "<branch>_anchors" are
// what may be attended to.
// Errors: a group of no branch, a branch without anchors, fewer than two
// branches for kCross and kJoint
absl::StatusOr<std::vector<NamedPattern>> AnchorPatterns(
    absl::Span<const TokenSpec> specs, absl::Span<const std::string> branches,
    AnchorAttention attention);

// The patterns as rows of one input, `first_row` on. `is_real` [tokens]: false
// leaves a token out of the keys; empty: all are real.
// Errors: a group that is a query twice, or never, or unknown; unknown keys; a
// mask of another length; no key left for a query
absl::StatusOr<std::vector<AttentionPattern>> RowsOfPatterns(
    absl::Span<const TokenSpec> specs, absl::Span<const NamedPattern> patterns,
    absl::Span<const bool> is_real, std::int32_t first_row);

}  // namespace stepd

#endif  // STEPD_MODEL_MODULES_TOKEN_SPECS_H_
