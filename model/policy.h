// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The boundary between the server and the model: a loaded network that
// answers batches of steps. Free of LibTorch; tests put a fake behind it.

#ifndef STEPD_MODEL_POLICY_H_
#define STEPD_MODEL_POLICY_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/policy_spec.h"
#include "model/step.h"

namespace stepd {

// The memory behind the block ids of one executor. Runners of policies that
// differ in nothing but their weights can share it.
//
// Thread safety: it may be held anywhere; it is used by one thread at a time.
class KvMemory {
 public:
  virtual ~KvMemory() = default;
};

// One executor's use of a policy: its KV blocks and scratch memory. All that
// is mutable about a policy is here.
//
// Thread safety: none; an executor calls it from its own thread only.
class PolicyRunner {
 public:
  virtual ~PolicyRunner() = default;

  // Runs the new steps of every slice: writes their keys and values into the
  // slices' blocks and fills `result`. Blocks for as long as the computation
  // takes. A row's answer depends on its own session alone, never on which
  // other slices are in the batch.
  //
  // REQUIRES: 1 <= tokens of the batch; a batch of more than
  // RunnerOptions::max_batch_tokens is legal but allocates.
  // Errors: kInternal  the computation failed. The blocks of all slices must
  //                    then be taken as holding only their cached tokens.
  virtual absl::Status Forward(const StepBatch& batch, StepResult* result) = 0;

  // Block `to` gets the content of block `from`.
  virtual void CopyBlock(std::int32_t from, std::int32_t to) = 0;

  // Prepares what the slices of a session with these inputs need besides its
  // blocks; sessions of equal inputs share one. nullptr: nothing is needed.
  // The runner must outlive it, and both belong to one thread.
  //
  // REQUIRES: CheckSessionInputs() is OK.
  // Errors: kInternal  the computation failed.
  virtual absl::StatusOr<std::shared_ptr<const PreparedInputs>> PrepareInputs(
      absl::string_view /*session_inputs*/) {
    return nullptr;
  }

  // What its blocks lie in; nullptr: they need no memory.
  virtual std::shared_ptr<KvMemory> kv_memory() const { return nullptr; }
};

struct RunnerOptions {
  // Block ids of the batches are in [0, num_blocks).
  std::int32_t num_blocks = 0;
  // What scratch memory is sized for.
  std::int64_t max_batch_tokens = 0;
  // Of another runner with as many blocks; nullptr: memory of its own.
  std::shared_ptr<KvMemory> kv_memory;
};

// What can be put into a policy: the same for all versions of its weights.
//
// Thread safety: thread-safe.
class InputRules {
 public:
  virtual ~InputRules() = default;

  virtual const PolicySpec& spec() const = 0;

  // Tokens that an encoded step becomes.
  // Errors: kInvalidArgument  the step is no encoding of the spec, or becomes
  //                           no token at all; the message says which.
  virtual absl::StatusOr<int> CountTokens(absl::string_view step) const = 0;

  // What a spec cannot say of encoded session inputs.
  // Errors: kInvalidArgument  no session can have them; the message says why.
  virtual absl::Status CheckSessionInputs(
      absl::string_view /*session_inputs*/) const {
    return absl::OkStatus();
  }
};

// A loaded network; its weights never change.
//
// Thread safety: thread-safe. Runners share the weights and must not outlive
// the policy.
class Policy : public InputRules {
 public:
  // Errors: kResourceExhausted  the blocks do not fit into memory
  //         kInvalidArgument    the given KV memory has another shape
  virtual absl::StatusOr<std::unique_ptr<PolicyRunner>> CreateRunner(
      const RunnerOptions& options) const = 0;
};

}  // namespace stepd

#endif  // STEPD_MODEL_POLICY_H_
