// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The gRPC server around the services: address, TLS, health, reflection.
//
// Thread safety: thread-safe.

#ifndef STEPD_SERVER_SERVICE_SERVER_H_
#define STEPD_SERVER_SERVICE_SERVER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/service/service.h"

namespace stepd {

struct ServerOptions {
  std::string address;  // HOST:PORT or unix:PATH
  // Files, PEM; empty: no TLS.
  std::string tls_cert;
  std::string tls_key;
  std::string tls_client_ca;  // empty: clients need no certificate
  // Listening beyond this machine without TLS.
  bool is_insecure_allowed = false;
  int max_message_bytes = 16 << 20;
  int max_calls_per_connection = 1024;
};

// True for addresses that only this machine can reach.
bool IsLocalAddress(absl::string_view address);

class Server {
 public:
  // Listens and serves. The services must outlive the server.
  // Errors: kInvalidArgument  an address beyond this machine without TLS and
  //                           without leave; a TLS file that cannot be read
  //         kUnavailable      the address cannot be listened on
  static absl::StatusOr<std::unique_ptr<Server>> Start(
      const ServerOptions& options, std::vector<Service*> services);

  virtual ~Server() = default;  // REQUIRES: Shutdown()

  // The port listened on; 0 for a socket file.
  virtual int port() const = 0;

  // Answers NOT_SERVING to health checks from now on.
  virtual void StopHealth() = 0;

  // Refuses new calls, waits for those that run, cancels what is left after
  // `grace`. Blocks.
  virtual void Shutdown(absl::Duration grace) = 0;
};

}  // namespace stepd

#endif  // STEPD_SERVER_SERVICE_SERVER_H_
