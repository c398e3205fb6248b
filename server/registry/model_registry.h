// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The versions of the weights there are, and which of them contexts begin
// under: those that a repository has, those that are pushed, and the labels
// that name them.
//
// One thread of low priority loads, rolls out and frees; whatever it refuses
// changes nothing. A version is in memory as long as a label names it or a
// session needs it.
//
// Thread safety: thread-safe.

#ifndef STEPD_SERVER_REGISTRY_MODEL_REGISTRY_H_
#define STEPD_SERVER_REGISTRY_MODEL_REGISTRY_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/engine/engine.h"
#include "server/engine/served_version.h"
#include "server/registry/registry_observer.h"
#include "server/registry/version_source.h"
#include "server/registry/version_table.h"

namespace stepd {

struct ModelRegistryOptions {
  // The version to start with, and its number. Empty: the newest one of the
  // repository that can be loaded.
  std::string path;
  std::uint64_t version = 1;
  // A directory of versions (server/registry/repository.h); empty: none.
  std::string repository;
  // How often to look there for new ones; infinite: never.
  absl::Duration poll_interval = absl::InfiniteDuration();

  std::int64_t max_push_bytes = std::int64_t{8} << 30;
  int max_versions = 4;  // in memory
  // What is free for another version.
  std::function<std::int64_t()> available_memory;
};

// A label that is to name a version.
struct LabelChange {
  std::string label;
  // 0: the label goes; kStable names the newest one then, and follows the
  // repository.
  std::uint64_t version = 0;
  double canary_share = 0.0;  // with kCanary: above 0, at most 1
};

struct PushHeader {
  std::int64_t num_bytes = 0;
  std::string sha256;         // 32 bytes
  std::uint64_t version = 0;  // 0: the next one
  bool is_partial = false;
  // 0: the one that the label names, or else kStable.
  std::uint64_t base_version = 0;
  std::string label = kStable;  // that is to name it
  double canary_share = 0.0;
};

using VersionDone = absl::AnyInvocable<void(absl::StatusOr<std::uint64_t>)>;

// A weights file that is on its way. Without Commit() nothing happens.
//
// Thread safety: none.
class Push {
 public:
  virtual ~Push() = default;

  // Errors: kInvalidArgument    WEIGHTS_DIGEST: more bytes than announced
  //         kResourceExhausted  WEIGHTS_MEMORY
  virtual absl::Status Append(absl::string_view bytes) = 0;

  // The file is complete. `done` is told the version when it is in service,
  // from the registry's thread.
  // Errors: kInvalidArgument    WEIGHTS_DIGEST; WEIGHTS: the file is malformed,
  //                             or does not fit the model, or has NaN
  //         kFailedPrecondition MODEL_VERSION: not newer, or there is no base
  //         kResourceExhausted  WEIGHTS_MEMORY
  virtual void Commit(VersionDone done) = 0;
};

class ModelRegistry {
 public:
  // Loads the version to start with.
  // Errors: those of `open` and of VersionSource::Load()
  static absl::StatusOr<std::unique_ptr<ModelRegistry>> Create(
      const ModelRegistryOptions& options, SourceOpener open,
      RegistryObserver* observer);

  virtual ~ModelRegistry() = default;  // REQUIRES: Stop(), if started

  // The version that an engine is to be made with; nullptr once it is.
  virtual std::shared_ptr<ServedVersion> first() const = 0;

  // Starts the thread. `engine` offers first() and must outlive Stop().
  virtual void Start(Engine* engine) = 0;
  // What has not begun is refused (DRAINING); waits for what has.
  virtual void Stop() = 0;

  // One at a time, also while one is loaded.
  // Errors: kAborted            WEIGHTS_BUSY (retryable)
  //         kInvalidArgument    LIMIT, FIELD_RANGE, WEIGHTS_DIGEST
  //         kResourceExhausted  WEIGHTS_MEMORY
  virtual absl::StatusOr<std::unique_ptr<Push>> BeginPush(
      const PushHeader& header) = 0;

  // `done` is told the version that the label names when it is in effect
  // (0: none).
  // Errors: kInvalidArgument    FIELD_RANGE: a label that cannot be set, or a
  //                             share that means nothing
  //         kFailedPrecondition MODEL_VERSION: there is no such version
  //         and those of Push::Commit()
  virtual void SetLabel(const LabelChange& change, VersionDone done) = 0;

  // kStable names the version that it named before; `done` is told which.
  // Errors: kFailedPrecondition  MODEL_VERSION: there is none, or it is gone
  virtual void Rollback(VersionDone done) = 0;

  // The newest first.
  virtual std::vector<VersionInfo> List() const = 0;
  // New versions of the repository become stable by themselves.
  virtual bool follows_repository() const = 0;
};

}  // namespace stepd

#endif  // STEPD_SERVER_REGISTRY_MODEL_REGISTRY_H_
