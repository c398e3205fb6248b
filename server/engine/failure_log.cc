// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/failure_log.h"

#include "absl/strings/str_cat.h"
#include "server/common/error.h"

namespace stepd {

std::string FailureLog::Report(const absl::Status& failure) {
  std::string id = absl::StrCat("e", executor_, "-", ++num_failures_);
  observer_->OnForwardError(id, failure);
  return id;
}

absl::Status FailureLog::Told(const std::string& id) {
  return Error(absl::StatusCode::kInternal, reason::kInternal,
               absl::StrCat("the computation failed (error ", id, ")"),
               {{"error_id", id}});
}

}  // namespace stepd
