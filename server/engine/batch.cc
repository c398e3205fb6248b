// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/batch.h"

#include <exception>
#include <utility>

#include "server/engine/answer.h"
#include "server/engine/session_blocks.h"

namespace stepd {

void Batch::Clear() {
  for (SessionSlice& slice : batch_.slices) {
    spare_slices_.push_back(std::move(slice));
  }
  batch_.slices.clear();
  batch_.outputs = 0;
  works_.clear();
  version_ = nullptr;
  num_tokens_ = 0;
  num_rows_ = 0;
}

void Batch::Add(Work* work, RunningVersion* version, std::int64_t max_tokens) {
  SessionSlice& slice = NextSlice();
  const std::int64_t old_begin = work->cached.begin;
  slicer_.Fill(work, max_tokens, &slice);
  // The old context is gone, whatever becomes of the task.
  if (work->cached.begin != old_begin) ForgetCached(work->session);
  works_.push_back(work);
  version_ = version;
  num_tokens_ += work->slice_tokens();
  num_rows_ += work->slice_rows;
  batch_.outputs |= PolicyOutputs(spec_, work->step().outputs);
}

SessionSlice& Batch::NextSlice() {
  if (spare_slices_.empty()) {
    batch_.slices.emplace_back();
  } else {
    batch_.slices.push_back(std::move(spare_slices_.back()));
    spare_slices_.pop_back();
  }
  return batch_.slices.back();
}

absl::Status Batch::Forward() {
  result_.num_rows = 0;
  try {
    const absl::Status status = version_->runner->Forward(batch_, &result_);
    return status.ok() ? CheckResult() : status;
  } catch (const std::exception& e) {  // std::bad_alloc above all
    return absl::InternalError(e.what());
  }
}

absl::Status Batch::CheckResult() const {
  const auto rows = static_cast<std::size_t>(num_rows_);
  bool is_complete = result_.num_rows == num_rows_ &&
                     result_.scores.size() ==
                         rows * static_cast<std::size_t>(spec_.num_actions);
  for (std::size_t i = 0; is_complete && i < spec_.outputs.size(); ++i) {
    if ((batch_.outputs >> i & 1) == 0) continue;
    is_complete =
        i < result_.outputs.size() &&
        result_.outputs[i].size() ==
            rows * static_cast<std::size_t>(spec_.outputs[i].num_elements());
  }
  if (is_complete) return absl::OkStatus();
  return absl::InternalError("the policy's result lacks rows");
}

}  // namespace stepd
