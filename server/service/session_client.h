// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The SessionService of another process, as the command line asks it.
//
// Thread safety: thread-safe.

#ifndef STEPD_SERVER_SERVICE_SESSION_CLIENT_H_
#define STEPD_SERVER_SERVICE_SESSION_CLIENT_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/engine/session_info.h"

namespace stepd {

struct SessionClientOptions {
  std::string address;  // HOST:PORT or unix:PATH
  // Files, PEM. `ca`: whom to believe; empty: no TLS. The others together, for
  // servers that ask for a certificate.
  std::string tls_ca;
  std::string tls_cert;
  std::string tls_key;
  absl::Duration timeout = absl::Seconds(10);  // of a call
};

// Errors of the calls: those of the server
//                      kUnavailable  it cannot be reached
class SessionClient {
 public:
  // Errors: kInvalidArgument  a file that cannot be read
  static absl::StatusOr<std::unique_ptr<SessionClient>> Create(
      const SessionClientOptions& options);

  virtual ~SessionClient() = default;

  virtual absl::StatusOr<SessionList> List(const std::string& actor_prefix,
                                           std::int64_t max_sessions) = 0;
  virtual absl::Status Close(const std::string& actor_id) = 0;
};

}  // namespace stepd

#endif  // STEPD_SERVER_SERVICE_SESSION_CLIENT_H_
