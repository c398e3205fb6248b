// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Replays a recorded case through an engine - the same sessions, batcher and
// paged cache that serve - and compares every answer with the recording.
//
// Thread safety: reentrant.

#ifndef STEPD_SERVER_VERIFY_VERIFY_H_
#define STEPD_SERVER_VERIFY_VERIFY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/engine/engine.h"
#include "server/verify/recorded_case.h"

namespace stepd {

// How one output compares over all actors and steps.
struct OutputComparison {
  std::string output;
  // Largest |got - want| / max(1, |want|); infinite where one of the two is
  // not a number.
  double max_error = 0.0;
  std::int64_t num_values = 0;
};

struct VerifyReport {
  std::vector<OutputComparison> outputs;
  std::int64_t num_steps = 0;
  // Steps whose greedy action was recorded, and those where it agrees.
  std::int64_t num_actions = 0;
  std::int64_t num_agreeing_actions = 0;

  double max_error() const;
  bool Passes(double tolerance) const {
    return max_error() <= tolerance && num_agreeing_actions == num_actions;
  }
};

// Runs every actor of the case concurrently: once for the outputs and the
// greedy actions, and once per recorded temperature for the log-probabilities.
// Errors: kInvalidArgument  the case records an output the policy has not
//         others            what the engine answers
absl::StatusOr<VerifyReport> Verify(const RecordedCase& recorded,
                                    Engine* engine);

}  // namespace stepd

#endif  // STEPD_SERVER_VERIFY_VERIFY_H_
