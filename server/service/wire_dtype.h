// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Thread safety: pure functions.

#ifndef STEPD_SERVER_SERVICE_WIRE_DTYPE_H_
#define STEPD_SERVER_SERVICE_WIRE_DTYPE_H_

#include "model/policy_spec.h"
#include "proto/stepd/v1/policy_service.pb.h"

namespace stepd {

// What a policy reads (FieldSpec::dtype), on the wire.
inline v1::DataType ToWire(DType dtype) {
  if (dtype == DType::kBool) return v1::DATA_TYPE_BOOL;
  return dtype == DType::kInt64 ? v1::DATA_TYPE_INT64 : v1::DATA_TYPE_FLOAT32;
}

}  // namespace stepd

#endif  // STEPD_SERVER_SERVICE_WIRE_DTYPE_H_
