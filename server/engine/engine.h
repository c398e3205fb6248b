// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The engine of one model in service: executors, each one thread that owns the
// sessions which hash to it, their KV blocks and its batches. Callers validate
// and submit; nothing but an executor touches a session.

#ifndef STEPD_SERVER_ENGINE_ENGINE_H_
#define STEPD_SERVER_ENGINE_ENGINE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/policy.h"
#include "server/common/clock.h"
#include "server/engine/context.h"
#include "server/engine/finished_step.h"
#include "server/engine/journal.h"
#include "server/engine/observer.h"
#include "server/engine/served_version.h"
#include "server/engine/session_task.h"

namespace stepd {

struct EngineOptions {
  int num_executors = 1;
  // Executor i stays on the i-th core that the process may use.
  bool has_own_cores = false;
  // An executor without work looks for it for so long before it sleeps.
  absl::Duration spin = absl::ZeroDuration();

  // Batching (per executor).
  int max_batch_sessions = 256;
  std::int64_t max_batch_tokens = 2048;  // longer prefills are cut into chunks
  // For more steps; 0: never; nullopt: as the executor sees fit (Patience).
  std::optional<absl::Duration> max_wait = absl::ZeroDuration();
  int max_queued_tasks = 4096;  // beyond it: OVERLOADED

  // Sessions (whole engine; divided among executors).
  std::int64_t cache_bytes = std::int64_t{1} << 30;  // KV blocks
  std::int64_t max_sessions = 100000;
  ContextLimits context;  // of a session
  absl::Duration idle_timeout = absl::InfiniteDuration();
  KvPolicy kv_policy = KvPolicy::kPin;
  // Where they outlive the process; nullptr: nowhere. Must outlive the engine.
  Journal* journal = nullptr;
  // What is told of every step; nullptr: nothing. Must outlive the engine.
  FinishedStepSink* finished_steps = nullptr;
};

// Thread safety: thread-safe.
class Engine {
 public:
  // Offers this version; `observer` and `clock` must outlive the engine.
  // Errors: kInvalidArgument   an option that cannot work (named)
  //         kResourceExhausted the cache does not fit into memory
  static absl::StatusOr<std::unique_ptr<Engine>> Create(
      std::shared_ptr<ServedVersion> version, const EngineOptions& options,
      Observer* observer, const Clock* clock = Clock::Real());
  // The same of a policy that is version 1.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(
      std::shared_ptr<const Policy> policy, const EngineOptions& options,
      Observer* observer, const Clock* clock = Clock::Real());

  virtual ~Engine() = default;

  // Of every version that is ever offered.
  virtual const PolicySpec& spec() const = 0;
  virtual const InputRules& input_rules() const = 0;

  // The version that contexts begin under where nothing else is said.
  virtual std::uint64_t stable_version() const = 0;

  // From now on contexts begin under `rollout`, and those that there are go on
  // as the KV policy says; no step fails by it. Prepares the versions in the
  // caller's thread, then blocks until no batch is formed without them. The
  // caller holds every version until it has no executors.
  // REQUIRES: every version that the rollout names is in it.
  // Errors: kInvalidArgument   a policy with another spec (WEIGHTS)
  //         kResourceExhausted no memory for running it (WEIGHTS_MEMORY)
  //         kUnavailable       DRAINING
  virtual absl::Status RollOut(const Rollout& rollout) = 0;

  // Queues a task; its `done` is called later from an executor's thread. Never
  // blocks. On an error `done` is not called and nothing happened.
  // Errors: kResourceExhausted  OVERLOADED: the queue is full (retryable)
  //         kUnavailable        DRAINING
  virtual absl::Status Submit(Task task) = 0;

  // Refuses new tasks, finishes the queued ones, stops the threads. Blocks.
  virtual void Drain() = 0;
};

}  // namespace stepd

#endif  // STEPD_SERVER_ENGINE_ENGINE_H_
