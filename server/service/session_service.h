// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The SessionService of proto/stepd/v1 over an engine.
//
// Thread safety: thread-safe.

#ifndef STEPD_SERVER_SERVICE_SESSION_SERVICE_H_
#define STEPD_SERVER_SERVICE_SESSION_SERVICE_H_

#include <cstdint>
#include <memory>

#include "server/engine/engine.h"
#include "server/engine/observer.h"
#include "server/service/service.h"

namespace stepd {

struct SessionServiceOptions {
  std::int64_t max_forks = 1024;  // of one call
};

class SessionService : public Service {
 public:
  // `engine` and `observer` must outlive the service, and the service's
  // grpc::Server must be shut down before it goes.
  static std::unique_ptr<SessionService> Create(
      Engine* engine, const SessionServiceOptions& options, Observer* observer);
};

}  // namespace stepd

#endif  // STEPD_SERVER_SERVICE_SESSION_SERVICE_H_
