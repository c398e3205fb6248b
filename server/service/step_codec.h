// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Requests to tasks, replies to responses: the only place that turns the
// wire's tensors into encoded steps (model/step.h) and back.
//
// A fault of a whole call (an unknown field, a wrong dtype or shape, an actor
// ID) refuses the call; a fault in the values of one row of a batch refuses
// that row alone. Whether a step opens a session, and so must have session
// inputs or must not, is for the engine to say.
//
// Thread safety: thread-safe.

#ifndef STEPD_SERVER_SERVICE_STEP_CODEC_H_
#define STEPD_SERVER_SERVICE_STEP_CODEC_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/policy.h"
#include "model/step.h"
#include "server/engine/step_task.h"
#include "server/service/field_columns.h"
#include "server/service/tensor_column.h"

namespace stepd {

namespace v1 {
class DescribeResponse;
class EvaluateRequest;
class EvaluateResponse;
class StepBatchRequest;
class StepBatchResponse;
class StepRequest;
class StepResponse;
}  // namespace v1

// 1 to 256 bytes (Protobuf has checked that they are UTF-8).
// Errors: kInvalidArgument  ACTOR_ID
absl::Status CheckActorId(absl::string_view actor_id);

struct StepCodecOptions {
  std::int64_t max_steps_per_call = 1024;
  // An episode cannot be evaluated in parts.
  std::int64_t max_steps_per_evaluation = 4096;
  std::int64_t max_actors_per_batch = 1024;
  NonFinite non_finite = NonFinite::kRefuse;
};

class StepCodec {
 public:
  // `rules` must outlive the codec.
  StepCodec(const InputRules* rules, const StepCodecOptions& options);

  // The task lacks what the call itself knows: deadline, cancellation, `done`.
  // Errors: kInvalidArgument  FIELD_*, ACTOR_ID, OUTPUT_UNKNOWN, SAMPLING,
  // LIMIT
  absl::StatusOr<StepTask> DecodeStep(const v1::StepRequest& request) const;

  // As above, of an episode without an actor.
  absl::StatusOr<StepTask> DecodeEvaluate(
      const v1::EvaluateRequest& request) const;

  // One task or error per row.
  // Errors: as above, of the call as a whole
  absl::StatusOr<std::vector<absl::StatusOr<StepTask>>> DecodeStepBatch(
      const v1::StepBatchRequest& request) const;

  // Fills actions, log_probs, outputs and step_index.
  void EncodeStep(const StepReply& reply, v1::StepResponse* response) const;

  void EncodeEvaluate(const StepReply& reply,
                      v1::EvaluateResponse* response) const;

  // Sizes the columns of `response` for `num_rows` rows of zeros.
  void StartStepBatch(std::int64_t num_rows, OutputMask outputs,
                      v1::StepBatchResponse* response) const;

  // Fills one row. Rows may be filled concurrently.
  // REQUIRES: StartStepBatch() with the outputs of the row's task.
  void EncodeRow(const StepReply& reply, std::int64_t row,
                 v1::StepBatchResponse* response) const;

  // Fills what the policy's spec says.
  void DescribePolicy(v1::DescribeResponse* response) const;

 private:
  // All steps of one session, and its inputs if it opens.
  absl::Status EncodeSteps(const Tensors& inputs, const Tensors& session_inputs,
                           std::int64_t max_steps, StepTask* task) const;
  absl::Status CheckActions(const v1::EvaluateRequest& request,
                            std::int64_t num_steps) const;
  void EncodeOutputs(const StepReply& reply, Tensors* tensors) const;

  // Append what row `row` says to `task`.
  absl::Status EncodeStepRow(std::int64_t row, FieldColumns* columns,
                             StepTask* task) const;
  absl::Status EncodeSessionInputs(std::int64_t row, FieldColumns* columns,
                                   StepTask* task) const;

  const InputRules* rules_;
  const PolicySpec& spec_;
  const StepLayout layout_;
  const StepLayout session_layout_;
  const std::vector<OutputSpec> outputs_;  // what can be asked for
  // The spec's, none of them required: not every row opens a session.
  const std::vector<FieldSpec> session_fields_;
  const StepCodecOptions options_;
};

}  // namespace stepd

#endif  // STEPD_SERVER_SERVICE_STEP_CODEC_H_
