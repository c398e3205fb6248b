// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What becomes of a call that failed, on the wire and beside it.
//
// Thread safety: thread-safe.

#ifndef STEPD_SERVER_SERVICE_CALL_END_H_
#define STEPD_SERVER_SERVICE_CALL_END_H_

#include <grpcpp/support/status.h>

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/engine/observer.h"

namespace grpc {
class ServerContextBase;
}

namespace stepd {

class CallEnd {
 public:
  // `observer` must outlive it, `context` need not.
  CallEnd(absl::string_view method, const grpc::ServerContextBase& context,
          Observer* observer);

  // The call ends with `status`: counts and logs it if it is an error, and
  // gives what the client is told.
  grpc::Status operator()(const absl::Status& status) const;

 private:
  const std::string method_;
  const std::string request_id_;
  Observer* const observer_;
};

// A call that is refused before its first message. `Reactor`: what gRPC asks
// for. Deletes itself when gRPC is done with it.
template <typename Reactor>
class RefusedCall final : public Reactor {
 public:
  explicit RefusedCall(const grpc::Status& status) { this->Finish(status); }
  void OnDone() override { delete this; }
};

}  // namespace stepd

#endif  // STEPD_SERVER_SERVICE_CALL_END_H_
