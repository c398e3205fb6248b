// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Turns the inputs of a session into rows: tokens before its first step, or
// what cross-attention reads.
//
// Thread safety: thread-safe once built.

#ifndef STEPD_MODEL_EMBEDDERS_SESSION_EMBEDDER_H_
#define STEPD_MODEL_EMBEDDERS_SESSION_EMBEDDER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/embedders/embedder_config.h"
#include "model/kernels/kernel_set.h"
#include "model/policy_spec.h"
#include "model/step.h"

namespace stepd {

class SessionEmbedder {
 public:
  // `kernels` must outlive the embedder.
  // REQUIRES: the fields that `config` names have fixed shapes, {rows, in} or
  // {in}, and {rows}.
  SessionEmbedder(const SessionRowsConfig& config,
                  const std::vector<FieldSpec>& session_fields,
                  const kernels::KernelSet& kernels);

  // Rows of every session, masked ones included.
  std::int64_t num_rows() const { return num_rows_; }
  // D
  std::int64_t dim() const;

  // Errors: kInvalidArgument  the bytes are no session inputs of these fields,
  //                           or the mask leaves no row
  absl::Status Check(absl::string_view session_inputs) const;

  // Writes the rows that the mask leaves, in order, to x [<= num_rows, D] on
  // the device; how many there are. REQUIRES: Check() is OK.
  std::int64_t Embed(absl::string_view session_inputs, float* x) const;

 private:
  struct Values {
    FieldValue rows;
    FieldValue mask;  // absent: every row counts
  };
  absl::StatusOr<Values> Decode(absl::string_view session_inputs) const;

  const kernels::KernelSet& kernels_;
  StepLayout layout_;
  int field_;
  int mask_field_;
  std::int64_t num_rows_;
  std::int64_t in_dim_;
  Activation activation_;
  std::vector<std::unique_ptr<kernels::PackedLinear>> layers_;
};

}  // namespace stepd

#endif  // STEPD_MODEL_EMBEDDERS_SESSION_EMBEDDER_H_
