// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// One of the gRPC services of proto/stepd/v1, whatever its calls.
//
// Thread safety: thread-safe.

#ifndef STEPD_SERVER_SERVICE_SERVICE_H_
#define STEPD_SERVER_SERVICE_SERVICE_H_

namespace grpc {
class Service;
}

namespace stepd {

class Service {
 public:
  // REQUIRES: the grpc::Server that has the service is shut down.
  virtual ~Service() = default;

  // "stepd.v1.PolicyService"
  virtual const char* name() const = 0;
  // Lives as long as this.
  virtual grpc::Service* grpc_service() = 0;
};

}  // namespace stepd

#endif  // STEPD_SERVER_SERVICE_SERVICE_H_
