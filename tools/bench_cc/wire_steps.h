// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Random steps as the tensors of a request.
//
// Thread safety: reentrant.

#ifndef STEPD_TOOLS_BENCH_CC_WIRE_STEPS_H_
#define STEPD_TOOLS_BENCH_CC_WIRE_STEPS_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/policy_spec.h"
#include "proto/stepd/v1/policy_service.pb.h"
#include "tools/bench_cc/random_steps.h"

namespace stepd::bench {

using Tensors = google::protobuf::RepeatedPtrField<v1::Tensor>;

// What the server says it reads.
// Errors: kUnimplemented  a field of a dtype that this client does not know
absl::StatusOr<std::vector<FieldSpec>> FieldsOf(
    const v1::DescribeResponse& response);

// Makes `inputs` one tensor per field, for `num_rows` steps, without data.
void StartInputs(const RandomSteps& steps, std::int64_t num_rows,
                 Tensors* inputs);

// Overwrites the data with these steps of the pool, a row each.
// REQUIRES: StartInputs() with as many rows.
void SetRows(const RandomSteps& steps, absl::Span<const std::int64_t> rows,
             Tensors* inputs);

}  // namespace stepd::bench

#endif  // STEPD_TOOLS_BENCH_CC_WIRE_STEPS_H_
