// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// One actor's session, replayed with nobody else around: what it must be and
// what its steps must be answered, computed step by step by runners of its own.
//
// Thread safety: none.

#ifndef STEPD_TESTS_SOAK_SOLO_ACTOR_H_
#define STEPD_TESTS_SOAK_SOLO_ACTOR_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/policy.h"
#include "server/engine/context.h"
#include "server/engine/step_task.h"
#include "tests/soak/families.h"
#include "tests/soak/key_record.h"
#include "tests/soak/solo_session.h"
#include "tests/soak/step_request.h"

namespace stepd {

// Runners of every version, and their keys.
class SoloRunners {
 public:
  // `policies` must outlive it.
  SoloRunners(const FamilyPolicies* policies, std::int32_t num_blocks);

  const Policy& policy() const { return *policies_.Get(0); }
  PolicyRunner* Get(std::uint64_t version);

 private:
  const FamilyPolicies& policies_;
  RunnerOptions options_;
  std::map<std::uint64_t, std::unique_ptr<PolicyRunner>> runners_;
};

class SoloActor {
 public:
  // Its keys are in `blocks`, which hold its longest context. `runners` must
  // outlive it.
  SoloActor(std::string actor_id, const ContextLimits& limits,
            std::vector<std::int32_t> blocks, SoloRunners* runners);

  const std::string& id() const { return actor_id_; }
  const SoloSession& session() const { return session_; }
  std::int64_t num_tokens() const;  // of the context
  bool is_new() const { return session_.num_steps == 0; }

  // The keys that an answered step saw; nullptr: it was not computed.
  using FindKeys = std::function<const KeyRecord::Keys*(const std::string&)>;

  // Takes the steps and gives their answer under the versions of `keys`.
  // Errors: kInternal  the keys are not those of this actor's context
  absl::StatusOr<StepReply> Take(const StepRequest& request,
                                 const FindKeys& keys);
  // The reply of the last request, which is kept if it has an index.
  void Keep(const StepRequest& request, const StepReply& reply);
  void set_kv_policy(std::optional<KvPolicy> kv_policy) {
    session_.kv_policy = kv_policy;
  }
  void set_epoch(std::uint64_t epoch) { session_.epoch = epoch; }
  // Its context is of this version.
  void Follow(std::uint64_t version, std::size_t first_rollout) {
    session_.version = version;
    session_.first_rollout = first_rollout;
  }
  // Nobody knows, but it is offered by this rollout or a later one.
  void Unpin(std::size_t first_rollout) { Follow(0, first_rollout); }

  // As if it had never come.
  void End();
  // It has this session instead.
  void Become(const SoloSession& session);

 private:
  void See(const StepRequest& request, std::size_t i);
  absl::Status UseKeys(const KeyRecord::Keys& keys);
  absl::Status Compute(OutputMask outputs, StepResult* result);
  absl::Status Forward(std::size_t end, OutputMask outputs, StepResult* result);
  absl::Status Answer(const StepRequest& request, std::size_t row,
                      const StepResult& result, StepReply* reply) const;

  const std::string actor_id_;
  const std::uint64_t actor_hash_;
  const ContextLimits limits_;
  const std::vector<std::int32_t> blocks_;
  SoloRunners& runners_;
  SoloSession session_;
  // Of the context, those whose keys are in the blocks.
  std::size_t num_cached_ = 0;
  std::uint64_t prepared_version_ = 0;
  std::shared_ptr<const PreparedInputs> prepared_;
};

}  // namespace stepd

#endif  // STEPD_TESTS_SOAK_SOLO_ACTOR_H_
