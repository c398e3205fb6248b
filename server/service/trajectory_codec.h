// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Finished steps on the wire.
//
// Thread safety: const access from any thread.

#ifndef STEPD_SERVER_SERVICE_TRAJECTORY_CODEC_H_
#define STEPD_SERVER_SERVICE_TRAJECTORY_CODEC_H_

#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "model/policy_spec.h"
#include "model/step.h"
#include "server/engine/finished_step.h"

namespace stepd {

namespace v1 {
class StreamTrajectoriesResponse;
}

class TrajectoryCodec {
 public:
  explicit TrajectoryCodec(const PolicySpec& spec);

  // Fills the columns of `response`, which is empty.
  void Encode(absl::Span<const std::shared_ptr<const FinishedStep>> steps,
              v1::StreamTrajectoriesResponse* response) const;

 private:
  const bool has_actions_;
  const std::vector<FieldSpec> fields_;
  const std::vector<FieldSpec> session_fields_;
  const StepLayout layout_;
  const StepLayout session_layout_;
};

}  // namespace stepd

#endif  // STEPD_SERVER_SERVICE_TRAJECTORY_CODEC_H_
