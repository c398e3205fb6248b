// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The ModelService of proto/stepd/v1 over a registry.
//
// Thread safety: thread-safe. gRPC's threads receive weights; the registry's
// thread does what takes long, and answers.

#ifndef STEPD_SERVER_SERVICE_MODEL_SERVICE_H_
#define STEPD_SERVER_SERVICE_MODEL_SERVICE_H_

#include <memory>

#include "server/engine/observer.h"
#include "server/registry/model_registry.h"
#include "server/service/service.h"

namespace stepd {

struct ModelServiceOptions {
  // Otherwise clients may look at versions, but not change what is served.
  bool accepts_changes = false;
};

class ModelService : public Service {
 public:
  // `registry` and `observer` must outlive the service, and the service's
  // grpc::Server must be shut down before it goes.
  static std::unique_ptr<ModelService> Create(
      ModelRegistry* registry, const ModelServiceOptions& options,
      Observer* observer);
};

}  // namespace stepd

#endif  // STEPD_SERVER_SERVICE_MODEL_SERVICE_H_
