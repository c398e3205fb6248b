// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// absl::Status with a reason (server/common/error.h) on the wire and back: a
// google.rpc.Status that carries google.rpc.ErrorInfo (domain "stepd") and,
// when there is a time to come back, google.rpc.RetryInfo.
//
// Thread safety: pure functions.

#ifndef STEPD_SERVER_SERVICE_STATUS_CODEC_H_
#define STEPD_SERVER_SERVICE_STATUS_CODEC_H_

#include "absl/status/status.h"

namespace google::rpc {
class Status;
}
namespace grpc {
class Status;
}

namespace stepd {

// For a row of a batch or a request of a stream.
void EncodeStatus(const absl::Status& status, google::rpc::Status* out);
absl::Status DecodeStatus(const google::rpc::Status& status);

// For a whole call: the details travel as "grpc-status-details-bin".
grpc::Status ToGrpcStatus(const absl::Status& status);
absl::Status FromGrpcStatus(const grpc::Status& status);

}  // namespace stepd

#endif  // STEPD_SERVER_SERVICE_STATUS_CODEC_H_
