// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The plain HTTP port for operators: /metrics, /healthz, /readyz.
//
// Thread safety: thread-safe.

#ifndef STEPD_SERVER_OBSERVE_HTTP_H_
#define STEPD_SERVER_OBSERVE_HTTP_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/observe/metrics.h"

namespace stepd {

// What /readyz answers: 200 with "ready", or with "ready, journal degraded", or
// 503. /healthz is 200 as long as the process answers.
enum class Readiness { kLoading, kReady, kDraining };

class HttpServer {
 public:
  // Listens on "host:port" (port 0: any free one) and answers from threads of
  // its own. `metrics` must outlive it.
  // Errors: kInvalidArgument  not an address
  //         kUnavailable      the address cannot be listened on
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(
      const std::string& address, const Metrics* metrics);

  virtual ~HttpServer() = default;  // stops listening

  // The port listened on.
  virtual int port() const = 0;

  virtual void SetReadiness(Readiness readiness) = 0;
};

}  // namespace stepd

#endif  // STEPD_SERVER_OBSERVE_HTTP_H_
