// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/service/call_end.h"

#include "server/common/error.h"
#include "server/service/call_log.h"
#include "server/service/status_codec.h"

namespace stepd {

CallEnd::CallEnd(absl::string_view method,
                 const grpc::ServerContextBase& context, Observer* observer)
    : method_(method), request_id_(RequestIdOf(context)), observer_(observer) {}

grpc::Status CallEnd::operator()(const absl::Status& status) const {
  if (!status.ok()) {
    observer_->OnError(ReasonOf(status));
    if (IsFailureLogged(status)) LogFailedCall(method_, request_id_, status);
  }
  return ToGrpcStatus(status);
}

}  // namespace stepd
