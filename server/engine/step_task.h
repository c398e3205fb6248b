// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What gRPC threads hand to the engine: plain data and a completion.

#ifndef STEPD_SERVER_ENGINE_STEP_TASK_H_
#define STEPD_SERVER_ENGINE_STEP_TASK_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/step.h"
#include "server/common/clock.h"
#include "server/engine/encoded_steps.h"

namespace stepd {

// What begins with a step, as its sender says; a `done` input says nothing.
enum class Boundary { kNone, kEpisode, kTask };

// What the reply's context was computed from.
enum class ServedFrom {
  kNew,      // the step opened the session
  kCache,    // everything before was in the session's blocks
  kLog,      // some or all was computed again from the log in memory
  kJournal,  // the log came from the journal
};

// How an action is drawn (the wire's Sampling, validated).
struct SamplingParams {
  float temperature = 0.0F;                 // >= 0, finite; 0 = best action
  std::optional<std::int64_t> num_actions;  // 1 .. spec.num_actions
  std::optional<std::int64_t> top_k;        // >= 1
  float epsilon = 0.0F;                     // 0 .. 1
  std::uint64_t seed = 0;
};

// Appends every one of them to `text`, in a form that is the same everywhere.
void AppendContent(const SamplingParams& params, std::string* text);

// Teacher forcing: the actions are given instead of drawn.
struct Evaluation {
  std::vector<std::int64_t> actions;  // [S], < spec.num_actions; empty: none
  // [S], where steps differ; empty: the task's.
  std::vector<SamplingParams> sampling;
};

// Answer to one StepTask. R = answered steps (1, or all of the task, or none).
struct StepReply {
  std::int64_t num_answered = 0;      // R
  std::vector<std::int64_t> actions;  // [R]; empty: the policy has none
  std::vector<float> log_probs;       // as actions
  // By index of AnswerOutputs(), empty where not asked for; [R, elements].
  std::vector<std::vector<float>> outputs;
  std::uint64_t step_index = 0;  // steps in the session after this task
  std::uint64_t epoch = 0;       // of the session
  ServedFrom served_from = ServedFrom::kNew;
  // The weights that computed it (its last row, if they changed on the way),
  // and the oldest and newest ones that made the context it was computed from.
  std::uint64_t model_version = 0;
  std::uint64_t context_version_min = 0;
  std::uint64_t context_version_max = 0;
  // Another reply to a task of the same stream is delivered right after it.
  bool is_followed = false;
};

// Called exactly once, from an executor's thread (or inside Submit's caller
// never). Must not block and must not call back into the engine.
using StepDone = absl::AnyInvocable<void(absl::StatusOr<StepReply>)>;

// What becomes of a session's context when the weights change.
enum class KvPolicy {
  kPin,        // it is finished under the weights that it was begun under
  kKeep,       // the new weights go on over the keys of the old ones
  kRecompute,  // it is rebuilt from the log under the new weights
};

// Which weights a step may be computed under.
struct VersionWish {
  std::uint64_t min_version = 0;
  std::string label;  // of the version that contexts begin under; empty: none
  // Of the session from this step on. Absent: what an earlier step said, or
  // else the executor's.
  std::optional<KvPolicy> kv_policy;
};

// Steps of one actor, validated against the spec.
struct StepTask {
  std::string actor_id;
  // Encoded, for the task that opens the session; empty: none are given.
  std::string session_inputs;
  EncodedSteps steps;           // at least one
  std::vector<int> num_tokens;  // of each step (Policy::CountTokens)
  // Steps of the session before the first one; absent: whatever there are.
  std::optional<std::uint64_t> step_index;
  // Which of the actor's sessions is meant: each has a greater number than the
  // one before. Absent: the one that there is, or a new one.
  std::optional<std::uint64_t> epoch;
  Boundary boundary = Boundary::kNone;  // at the first step
  VersionWish version;
  SamplingParams sampling;
  // [R, spec.num_actions], 0 = not allowed; empty: all are. Every row allows
  // one of the first sampling.num_actions.
  std::vector<std::uint8_t> action_mask;
  OutputMask outputs = 0;  // of AnswerOutputs()
  // Set: the task has a session of its own, which nobody else sees. It is
  // ephemeral and answers all steps.
  std::unique_ptr<const Evaluation> evaluation;
  bool answer_all_steps = false;
  // R = 0: the steps only become a part of the session.
  bool answers_nothing = false;
  // The session ends with this task, as if a Reset followed.
  bool is_ephemeral = false;
  // Dropped before any compute when it has passed. Clock's time.
  MonotonicTime deadline = kInfiniteFuture;
  // Set by the caller to have the task dropped if its batch has not formed.
  std::shared_ptr<const std::atomic<bool>> is_cancelled;
  // Stands for whoever sends replies together; only compared. nullptr: nobody.
  const void* stream = nullptr;
  StepDone done;
};

}  // namespace stepd

#endif  // STEPD_SERVER_ENGINE_STEP_TASK_H_
