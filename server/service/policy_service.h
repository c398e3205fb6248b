// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The PolicyService of proto/stepd/v1 over an engine.
//
// Thread safety: thread-safe. gRPC's threads decode, validate and submit;
// nothing here blocks.

#ifndef STEPD_SERVER_SERVICE_POLICY_SERVICE_H_
#define STEPD_SERVER_SERVICE_POLICY_SERVICE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "server/common/clock.h"
#include "server/engine/engine.h"
#include "server/engine/observer.h"
#include "server/service/service.h"
#include "server/service/step_codec.h"

namespace stepd {

struct PolicyServiceOptions {
  StepCodecOptions codec;
  // Requests of one stream that are not answered yet; beyond it the stream is
  // not read.
  int max_in_flight_per_stream = 256;
  // Told to clients by Describe.
  std::int64_t max_message_bytes = 0;
  std::int64_t max_sessions = 0;
  std::int64_t max_steps_per_session = 0;
  std::string server_version;
};

class PolicyService : public Service {
 public:
  // `engine`, `observer` and `clock` must outlive the service, and the
  // service's grpc::Server must be shut down before it goes.
  static std::unique_ptr<PolicyService> Create(
      Engine* engine, const PolicyServiceOptions& options, Observer* observer,
      const Clock* clock = Clock::Real());

  // Ends every stream once its requests are answered, then waits until no call
  // is left: for the engine, which must have been drained, and for clients
  // that take their answers. False: some were left after `timeout`.
  virtual bool Drain(absl::Duration timeout) = 0;
};

}  // namespace stepd

#endif  // STEPD_SERVER_SERVICE_POLICY_SERVICE_H_
