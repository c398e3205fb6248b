// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// A policy without a network whose answers depend on a session's whole history
// through what it wrote into the session's blocks.
//
// Every token stores a link of a hash chain at its (block, offset): the link
// before it and its own. A forward walks the chain of all cached tokens through
// the block table, so that a wrong table, a stale or stolen block, a lost or
// swapped step is found (violations()) and changes the answer as well. What an
// actor alone would have been answered is FakeHistory's business.

#ifndef STEPD_TESTS_FAKES_FAKE_POLICY_H_
#define STEPD_TESTS_FAKES_FAKE_POLICY_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/policy.h"
#include "model/policy_spec.h"
#include "model/step.h"
#include "server/common/mutex.h"

namespace stepd {

struct FakePolicyOptions {
  // Default: one required int64 scalar "x". Answers depend on the encoded
  // bytes, whatever the fields are.
  std::vector<FieldSpec> fields = {FieldSpec{"x", DType::kInt64, {}, {}, {}}};
  // The chain of a session begins with its inputs.
  std::vector<FieldSpec> session_fields;
  int num_prefix_tokens = 0;
  bool recomputes = false;
  std::int64_t num_actions = 5;
  int min_tokens_per_step = 1;
  int max_tokens_per_step = 1;  // more than min: a hash of the step decides
  std::int64_t max_tokens = 0;
  int tokens_per_block = 4;
  std::int64_t kv_bytes_per_token = 1;  // 0: no cache, steps stand alone
  // Policies of other weights answer otherwise and can share KV memory.
  std::uint64_t weights = 0;
};

// The chain of one session; also the oracle of tests.
class FakeHistory {
 public:
  explicit FakeHistory(const FakePolicyOptions& options,
                       absl::string_view session_inputs = "");

  void Append(absl::string_view step);
  // Goes on under other weights over what is there.
  void UseWeights(std::uint64_t weights) { options_.weights = weights; }
  std::uint64_t link() const { return link_; }

  // What the policy answers after the last step.
  std::vector<float> Scores() const;
  float Value() const;                // output "value", a scalar
  std::vector<float> Hidden() const;  // output "hidden", [2]

 private:
  FakePolicyOptions options_;
  std::uint64_t link_ = 0;
};

// Tokens that `step` becomes.
int CountFakeTokens(const FakePolicyOptions& options, absl::string_view step);

// One encoded step {x}; also session inputs of one required int64 scalar.
std::string EncodeFakeStep(std::int64_t x);

// Session inputs of this x are refused, and cannot be prepared.
inline constexpr std::int64_t kBadInput = -123456789;

// A step with this x (default fields) has scores of NaN.
inline constexpr std::int64_t kNanStep = -987654321;

// Outputs of the spec: 0 = "value" [], 1 = "hidden" [2].
//
// Thread safety: thread-safe; the runners as PolicyRunner says.
class FakePolicy : public Policy {
 public:
  explicit FakePolicy(const FakePolicyOptions& options = {});

  const PolicySpec& spec() const override { return spec_; }
  absl::StatusOr<int> CountTokens(absl::string_view step) const override;
  absl::Status CheckSessionInputs(
      absl::string_view session_inputs) const override;
  absl::StatusOr<std::unique_ptr<PolicyRunner>> CreateRunner(
      const RunnerOptions& options) const override;

  const FakePolicyOptions& options() const { return options_; }

  // How often inputs were prepared, and how many of them are alive.
  int num_inputs_prepared() const;
  int num_prepared_inputs() const;

  // Forwards are counted from 0 over all runners; those for which this returns
  // true spoil what they should have written and return kInternal.
  void FailForwards(std::function<bool(std::int64_t)> must_fail);

  // A gate in front of every forward.
  void Pause();
  // Returns when a forward stands at the closed gate.
  void WaitUntilPaused() const;
  void Resume();

  struct ForwardRecord {
    int num_slices = 0;
    int num_tokens = 0;
    int num_rows = 0;
  };
  std::vector<ForwardRecord> forwards() const;

  // What a correct executor never does; empty is good.
  std::vector<std::string> violations() const;

 private:
  friend class FakeRunner;
  struct State {
    mutable Mutex mu;
    mutable CondVar changed;
    std::function<bool(std::int64_t)> must_fail ABSL_GUARDED_BY(mu);
    std::vector<ForwardRecord> forwards ABSL_GUARDED_BY(mu);
    std::vector<std::string> violations ABSL_GUARDED_BY(mu);
    bool is_paused ABSL_GUARDED_BY(mu) = false;
    int num_inputs_prepared ABSL_GUARDED_BY(mu) = 0;
    int num_prepared_inputs ABSL_GUARDED_BY(mu) = 0;
    int num_at_gate ABSL_GUARDED_BY(mu) = 0;
  };

  const FakePolicyOptions options_;
  PolicySpec spec_;
  const std::unique_ptr<State> state_;
};

}  // namespace stepd

#endif  // STEPD_TESTS_FAKES_FAKE_POLICY_H_
