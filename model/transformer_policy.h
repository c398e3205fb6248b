// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The policy that a PolicyDescription describes: embed the steps, run the
// decoder over all new tokens of a batch, read each answered step's last token.
//
// Thread safety: see model/policy.h.

#ifndef STEPD_MODEL_TRANSFORMER_POLICY_H_
#define STEPD_MODEL_TRANSFORMER_POLICY_H_

#include <memory>

#include "absl/status/statusor.h"
#include "model/kernels/kernel_set.h"
#include "model/policy.h"
#include "model/policy_description.h"

namespace stepd {

// Makes `description` resident on the device of `kernels`, which the policy
// keeps. The tensors of the description are copied or packed.
// Errors: kInvalidArgument    parts that do not fit together (named)
//         kResourceExhausted  the weights do not fit into memory
absl::StatusOr<std::unique_ptr<Policy>> CreateTransformerPolicy(
    const PolicyDescription& description,
    std::unique_ptr<const kernels::KernelSet> kernels);

}  // namespace stepd

#endif  // STEPD_MODEL_TRANSFORMER_POLICY_H_
