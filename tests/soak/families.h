// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The policies of the oracle: three families of architectures, in small random
// shapes, each with a few sets of random weights.
//
// Thread safety: none.

#ifndef STEPD_TESTS_SOAK_FAMILIES_H_
#define STEPD_TESTS_SOAK_FAMILIES_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "model/policy.h"
#include "tests/model/support/random_policy.h"

namespace stepd {

// "mouse": grouped-query attention. "mythos": latent attention and experts in
// a loop. "noether": typed tokens with a bank of weights each, which perceive a
// source and are modulated by a condition, both given once per session.
std::vector<std::string> FamilyNames();

// A shape of this family; the seed decides its sizes.
RandomPolicyShape FamilyShape(absl::string_view family, unsigned seed);

// The versions of one policy: of the same shape, with other weights.
class FamilyPolicies {
 public:
  explicit FamilyPolicies(const RandomPolicyShape& shape);

  const PolicySpec& spec() const { return policies_.front()->spec(); }
  // Versions so many apart have the same weights.
  static constexpr std::uint64_t kNumWeights = 5;
  const std::shared_ptr<const Policy>& Get(std::uint64_t version) const {
    return policies_[version % kNumWeights];
  }
  // Most tokens of a step that MakeRandomSteps() makes.
  std::int64_t max_tokens_per_step() const;

 private:
  std::vector<std::shared_ptr<const Policy>> policies_;
};

}  // namespace stepd

#endif  // STEPD_TESTS_SOAK_FAMILIES_H_
