// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/soak/families.h"

#include <random>
#include <utility>

#include "absl/status/statusor.h"
#include "model/kernels/cpu_kernel_set.h"
#include "model/transformer_policy.h"

namespace stepd {
namespace {

// Entries of a ragged field, as MakeRandomSteps() makes them.
constexpr std::int64_t kMaxEntries = 5;

}  // namespace

std::vector<std::string> FamilyNames() {
  return {"mouse", "mythos", "noether"};
}

RandomPolicyShape FamilyShape(absl::string_view family, unsigned seed) {
  std::mt19937 random(seed);
  const auto pick = [&random](int min, int max) {
    return min + static_cast<int>(random() % unsigned(max - min + 1));
  };
  RandomPolicyShape shape;
  shape.name = std::string(family);
  shape.num_kv_heads = pick(1, 2);
  shape.num_heads = shape.num_kv_heads * pick(1, 3);
  shape.head_dim = 2 * pick(2, 6);
  shape.hidden_dim = pick(8, 40);
  shape.ffn_dim = pick(8, 48);
  if (family == "mythos") {
    shape.attention = {AttentionKind::kMla, AttentionKind::kGqa};
    shape.ffn = {FfnKind::kMoe, FfnKind::kDense};
    shape.num_loops = pick(2, 3);
  } else if (family == "noether") {
    shape.attention = {AttentionKind::kCross, AttentionKind::kGqa};
    shape.num_banks = pick(2, 3);
    shape.has_source_norm = true;
    shape.condition_dim = pick(1, 4);
  } else {
    shape.has_qk_norm = pick(0, 1) == 1;
    shape.window_left = pick(0, 2) == 0 ? pick(3, 9) : -1;
    shape.tokens_per_field = pick(1, 2);
    shape.num_compute_tokens = pick(0, 1);
  }
  return shape;
}

FamilyPolicies::FamilyPolicies(const RandomPolicyShape& shape) {
  for (std::uint64_t i = 0; i < kNumWeights; ++i) {
    auto policy = CreateTransformerPolicy(
        MakeRandomPolicy(shape, 1 + static_cast<int>(i)),
        kernels::CreateCpuKernelSet());
    policies_.push_back(std::move(policy).value());
  }
}

std::int64_t FamilyPolicies::max_tokens_per_step() const {
  const int most = spec().max_tokens_per_step;
  return most < 0 ? kMaxEntries : most;
}

}  // namespace stepd
