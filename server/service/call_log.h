// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// One log line for a call that failed: which, by its request id, and why, by
// its reason. Never by its message, which may quote an observation.
//
// Thread safety: thread-safe.

#ifndef STEPD_SERVER_SERVICE_CALL_LOG_H_
#define STEPD_SERVER_SERVICE_CALL_LOG_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace grpc {
class ServerContextBase;
}

namespace stepd {

// The id that the client gave in the metadata "x-request-id" (its first 64
// bytes), or one of our own.
std::string RequestIdOf(const grpc::ServerContextBase& context);

// A failure of ours is an error in the log, a fault of the client's is for
// those who debug it.
void LogFailedCall(absl::string_view method, absl::string_view request_id,
                   const absl::Status& status);

// Whether LogFailedCall() would write a line.
bool IsFailureLogged(const absl::Status& status);

}  // namespace stepd

#endif  // STEPD_SERVER_SERVICE_CALL_LOG_H_
