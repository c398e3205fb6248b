// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What a task is told of a batch's result.
//
// Thread safety: pure functions.

#ifndef STEPD_SERVER_ENGINE_ANSWER_H_
#define STEPD_SERVER_ENGINE_ANSWER_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "model/policy_spec.h"
#include "model/step.h"
#include "server/engine/work.h"

namespace stepd {

// Everything that a task can ask for by name: the policy's own outputs; of a
// policy with actions also "entropy" [] and "probs" [num_actions] of the
// distributions that they are drawn from; and "q", another name of the output
// with a value for every action, if there is one.
std::vector<OutputSpec> AnswerOutputs(const PolicySpec& spec);
std::size_t NumAnswerOutputs(const PolicySpec& spec);

// Those of `outputs` that the policy computes.
OutputMask PolicyOutputs(const PolicySpec& spec, OutputMask outputs);

// Adds the rows of `result` that belong to the slice of `work`, from
// `first_row` on, to its reply: draws the actions, or takes those of its
// evaluation, and fills the outputs that were asked for. To be called before
// the slice's steps count as done.
//
// REQUIRES: `result` is complete.
// Errors: as ActionDistribution::Create(); the reply is then of no use.
absl::Status AnswerRows(const PolicySpec& spec, const StepResult& result,
                        std::int64_t first_row, Work* work);

}  // namespace stepd

#endif  // STEPD_SERVER_ENGINE_ANSWER_H_
