// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The list of checkpoint formats.
//
// Thread safety: reentrant.

#ifndef STEPD_MODEL_CHECKPOINT_FORMATS_H_
#define STEPD_MODEL_CHECKPOINT_FORMATS_H_

#include "absl/status/statusor.h"
#include "model/checkpoint/format.h"
#include "model/checkpoint/tensor_source.h"

namespace stepd::checkpoint {

// Errors: kInvalidArgument  the config is of no format; names the file
absl::StatusOr<const Format*> FindFormat(const ConfigFile& config);

// The tensors that the config's options ask for; empty: all of them.
// Errors: kInvalidArgument  an option that means nothing to the format
absl::StatusOr<TensorFilter> FindWanted(const ConfigFile& config,
                                        const Format& format);

}  // namespace stepd::checkpoint

#endif  // STEPD_MODEL_CHECKPOINT_FORMATS_H_
