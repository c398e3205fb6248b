// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Where a step stands in its session, on the wire: index, epoch, boundary, and
// what it was served from.
//
// Thread safety: pure functions.

#ifndef STEPD_SERVER_SERVICE_ORDER_CODEC_H_
#define STEPD_SERVER_SERVICE_ORDER_CODEC_H_

#include "absl/status/status.h"
#include "proto/stepd/v1/policy_service.pb.h"
#include "server/engine/step_task.h"

namespace stepd {

// Errors: kInvalidArgument  FIELD_RANGE: no such boundary
absl::Status DecodeOrder(const v1::StepRequest& request, StepTask* task);

// Whether every column has one entry per actor, or none.
// Errors: kInvalidArgument  FIELD_SHAPE
absl::Status CheckOrderColumns(const v1::StepBatchRequest& request);

// Of one row.
// REQUIRES: CheckOrderColumns() is OK.
// Errors: kInvalidArgument  FIELD_RANGE: no such boundary
absl::Status DecodeOrder(const v1::StepBatchRequest& request, int row,
                         StepTask* task);

v1::Boundary ToWire(Boundary boundary);
v1::ServedFrom ToWire(ServedFrom served_from);

}  // namespace stepd

#endif  // STEPD_SERVER_SERVICE_ORDER_CODEC_H_
