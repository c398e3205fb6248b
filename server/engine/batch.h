// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The batch that an executor forms, computes and takes apart: slices of works,
// all under one version of the weights.
//
// Thread safety: none; one executor owns it.

#ifndef STEPD_SERVER_ENGINE_BATCH_H_
#define STEPD_SERVER_ENGINE_BATCH_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "model/policy.h"
#include "model/policy_spec.h"
#include "model/step.h"
#include "server/engine/running_versions.h"
#include "server/engine/slicer.h"
#include "server/engine/work.h"

namespace stepd {

class Batch {
 public:
  // `spec`, of all versions, and `slicer` must outlive it.
  Batch(const PolicySpec& spec, const Slicer& slicer)
      : spec_(spec), slicer_(slicer) {}

  // Keeps the memory of the one before.
  void Clear();

  // The next steps of `work` in about `max_tokens` tokens.
  // REQUIRES: `version` is that of the works in it.
  void Add(Work* work, RunningVersion* version, std::int64_t max_tokens);

  // Computes result().
  // Errors: whatever the policy says; kInternal where its result lacks rows
  absl::Status Forward();

  bool empty() const { return works_.empty(); }
  // Slice i belongs to works()[i].
  const std::vector<Work*>& works() const { return works_; }
  const SessionSlice& slice(std::size_t i) const { return batch_.slices[i]; }
  // Of all of them; nullptr: there are none.
  const RunningVersion* version() const { return version_; }
  std::int64_t num_tokens() const { return num_tokens_; }
  // One for each answered step, in the order of the works.
  const StepResult& result() const { return result_; }

 private:
  SessionSlice& NextSlice();
  absl::Status CheckResult() const;

  const PolicySpec& spec_;
  const Slicer& slicer_;
  std::vector<Work*> works_;
  RunningVersion* version_ = nullptr;
  std::int64_t num_tokens_ = 0;
  std::int64_t num_rows_ = 0;
  StepBatch batch_;
  std::vector<SessionSlice> spare_slices_;
  StepResult result_;
};

}  // namespace stepd

#endif  // STEPD_SERVER_ENGINE_BATCH_H_
