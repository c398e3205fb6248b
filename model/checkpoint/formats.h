// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The list of checkpoint formats, and the way from a directory to the
// description of a policy.
//
// Thread safety: reentrant.

#ifndef STEPD_MODEL_CHECKPOINT_FORMATS_H_
#define STEPD_MODEL_CHECKPOINT_FORMATS_H_

#include <string>

#include "absl/status/statusor.h"
#include "model/checkpoint/read_options.h"
#include "model/policy_description.h"

namespace stepd::checkpoint {

// Reads `directory` completely and strictly, or not at all.
// Errors: kNotFound         no config.json there, or no weights
//         kInvalidArgument  an unknown format, or anything in the checkpoint
//                           that the format does not have; names the file and
//                           the key or tensor; or an option that means
//                           nothing to the format
absl::StatusOr<PolicyDescription> ReadCheckpoint(
    const std::string& directory, const ReadOptions& options = {});

}  // namespace stepd::checkpoint

#endif  // STEPD_MODEL_CHECKPOINT_FORMATS_H_
