// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// A recorded case: the steps that some actors sent to a policy's original
// implementation and what it answered (tests/golden/README.md has the layout).
//
// Thread safety: plain values, reentrant functions.

#ifndef STEPD_SERVER_VERIFY_RECORDED_CASE_H_
#define STEPD_SERVER_VERIFY_RECORDED_CASE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/policy_spec.h"
#include "server/engine/context.h"
#include "server/engine/step_task.h"

namespace stepd {

// One output of one actor, for every step.
struct RecordedOutput {
  std::int64_t num_steps = 0;
  std::int64_t num_elements = 0;  // of one step
  std::vector<float> values;      // [num_steps, num_elements]
};

struct RecordedActor {
  std::string name;
  std::string session_inputs;       // encoded; empty: none
  std::vector<EncodedSteps> calls;  // the steps of each successive call
  std::map<std::string, RecordedOutput> outputs;  // by output name
  std::vector<std::int64_t> greedy_actions;       // [steps]; may be empty
  // Action probabilities by temperature; may be empty.
  std::map<float, RecordedOutput> action_probs;
};

struct RecordedCase {
  std::string name;
  bool is_optional = false;
  std::optional<std::int64_t> num_actions;  // what the original trimmed to
  // Grow-then-rebuild of the original, if it had one.
  std::optional<ContextLimits> context;
  std::vector<RecordedActor> actors;
};

// Reads `directory` and encodes its steps for a policy of `spec`.
// Errors: kNotFound         a file is missing
//         kInvalidArgument  a file is malformed or does not fit the spec;
//                           names file, actor and field
absl::StatusOr<RecordedCase> ReadRecordedCase(const std::string& directory,
                                              const PolicySpec& spec);

}  // namespace stepd

#endif  // STEPD_SERVER_VERIFY_RECORDED_CASE_H_
