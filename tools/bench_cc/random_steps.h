// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// A pool of random steps that are valid for a policy, whatever its fields: what
// simulated actors observe.
//
// Thread safety: const access from any thread.

#ifndef STEPD_TOOLS_BENCH_CC_RANDOM_STEPS_H_
#define STEPD_TOOLS_BENCH_CC_RANDOM_STEPS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "model/policy_spec.h"

namespace stepd::bench {

class RandomSteps {
 public:
  // Entries that every step has of a field whose leading size varies.
  static constexpr std::int64_t kRaggedEntries = 4;

  // `count` steps. Integers are drawn from the field's bounds, real numbers
  // from [-1, 1] within them; optional fields are there.
  // REQUIRES: count > 0
  RandomSteps(std::vector<FieldSpec> fields, int count, std::uint64_t seed);

  int size() const { return count_; }
  const std::vector<FieldSpec>& fields() const { return fields_; }

  // Elements that a step has of field `field`.
  std::int64_t NumElements(int field) const;
  // The values of a step's field, in the field's dtype; `step` wraps around.
  absl::string_view Value(std::int64_t step, int field) const;

  // The step as the model reads it (model/step.h).
  std::string Encode(std::int64_t step) const;

 private:
  const std::vector<FieldSpec> fields_;
  const int count_;
  std::vector<std::string> columns_;  // by field: the values of all steps
};

}  // namespace stepd::bench

#endif  // STEPD_TOOLS_BENCH_CC_RANDOM_STEPS_H_
