// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Which weights made each key in an executor's blocks, and with which keys each
// step was answered; found at the boundary of the policy. Between the executor
// and its runners, for as long as the executor lives.
//
// It also sees what a correct executor never does: writing a block that another
// session uses, reading a key that nobody has written.
//
// Thread safety: none; one executor's thread.

#ifndef STEPD_TESTS_SOAK_KEY_RECORD_H_
#define STEPD_TESTS_SOAK_KEY_RECORD_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "model/policy.h"
#include "model/step.h"

namespace stepd {

class KeyRecord {
 public:
  // The versions of the keys of a context, its prefix first.
  using Keys = std::vector<std::uint64_t>;

  KeyRecord(const Policy& policy, std::int32_t num_blocks);

  // `runner` of version `version`, with this record watching.
  std::unique_ptr<PolicyRunner> Watch(std::uint64_t version,
                                      std::unique_ptr<PolicyRunner> runner);

  // How many sessions use a block; unset: nobody asks.
  void AskUsers(std::function<int(std::int32_t)> num_users) {
    num_users_ = std::move(num_users);
  }
  // One forward in so many fails after it wrote; 0: none does.
  void FailOneIn(std::int64_t num_forwards) { fail_one_in_ = num_forwards; }

  // The context that this step, of unique bytes, was last answered with, itself
  // included; nullptr: it was not.
  const Keys* Find(absl::string_view step) const;
  void Forget(absl::string_view step) { answered_.erase(step); }

  // Empty is good.
  const std::vector<std::string>& violations() const { return violations_; }

 private:
  friend class WatchedRunner;

  bool MustFail();
  void Look(std::uint64_t version, const StepBatch& batch);
  void LookAt(std::uint64_t version, const SessionSlice& slice);
  // Nobody may read what was written.
  void Spoil(const StepBatch& batch);
  void Copy(std::int32_t from, std::int32_t to);

  std::int64_t EndOf(const SessionSlice& slice) const;
  std::uint64_t* At(const SessionSlice& slice, std::int64_t position);
  void CheckOwners(const StepBatch& batch);

  const Policy& policy_;
  const std::int64_t tokens_per_block_;
  std::function<int(std::int32_t)> num_users_;
  std::int64_t fail_one_in_ = 0;
  std::int64_t num_forwards_ = 0;
  std::vector<std::uint64_t>
      versions_;  // of every token of every block; 0: none
  absl::flat_hash_map<std::string, Keys> answered_;
  std::vector<std::string> violations_;
};

}  // namespace stepd

#endif  // STEPD_TESTS_SOAK_KEY_RECORD_H_
