// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The TrajectoryService of proto/stepd/v1 over a buffer of finished steps.
//
// Thread safety: thread-safe. One thread of its own serves all readers, so
// that nothing of it runs on an executor's.

#ifndef STEPD_SERVER_SERVICE_TRAJECTORY_SERVICE_H_
#define STEPD_SERVER_SERVICE_TRAJECTORY_SERVICE_H_

#include <memory>

#include "absl/time/time.h"
#include "model/policy_spec.h"
#include "server/engine/observer.h"
#include "server/engine/trajectory_buffer.h"
#include "server/service/service.h"

namespace stepd {

struct TrajectoryServiceOptions {
  bool accepts_readers = false;
  // How long the buffer goes on for a reader that comes back.
  absl::Duration linger = absl::Minutes(1);
};

class TrajectoryService : public Service {
 public:
  // The buffer is that of an engine whose policy has `spec`; opening and
  // closing it is the service's business. It and `observer` must outlive the
  // service, and the service's grpc::Server must be shut down before it goes.
  static std::unique_ptr<TrajectoryService> Create(
      const PolicySpec& spec, const TrajectoryServiceOptions& options,
      TrajectoryBuffer* buffer, Observer* observer);

  // Refuses new readers, sends the others what there is, and ends their calls.
  // False: some had not taken it when `timeout` had passed.
  virtual bool Drain(absl::Duration timeout) = 0;
};

}  // namespace stepd

#endif  // STEPD_SERVER_SERVICE_TRAJECTORY_SERVICE_H_
