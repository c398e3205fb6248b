// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/soak/key_record.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace stepd {

class WatchedRunner : public PolicyRunner {
 public:
  WatchedRunner(std::uint64_t version, std::unique_ptr<PolicyRunner> runner,
                KeyRecord* record)
      : version_(version), runner_(std::move(runner)), record_(*record) {}

  absl::Status Forward(const StepBatch& batch, StepResult* result) override {
    record_.Look(version_, batch);
    absl::Status status = runner_->Forward(batch, result);
    if (!record_.MustFail()) return status;
    record_.Spoil(batch);
    return absl::InternalError("told to fail");
  }
  void CopyBlock(std::int32_t from, std::int32_t to) override {
    record_.Copy(from, to);
    runner_->CopyBlock(from, to);
  }
  absl::StatusOr<std::shared_ptr<const PreparedInputs>> PrepareInputs(
      absl::string_view session_inputs) override {
    return runner_->PrepareInputs(session_inputs);
  }
  std::shared_ptr<KvMemory> kv_memory() const override {
    return runner_->kv_memory();
  }

 private:
  const std::uint64_t version_;
  const std::unique_ptr<PolicyRunner> runner_;
  KeyRecord& record_;
};

KeyRecord::KeyRecord(const Policy& policy, std::int32_t num_blocks)
    : policy_(policy),
      tokens_per_block_(policy.spec().tokens_per_block),
      versions_(static_cast<std::size_t>(num_blocks * tokens_per_block_)) {}

std::unique_ptr<PolicyRunner> KeyRecord::Watch(
    std::uint64_t version, std::unique_ptr<PolicyRunner> runner) {
  return std::make_unique<WatchedRunner>(version, std::move(runner), this);
}

const KeyRecord::Keys* KeyRecord::Find(absl::string_view step) const {
  const auto it = answered_.find(step);
  return it == answered_.end() ? nullptr : &it->second;
}

bool KeyRecord::MustFail() {
  ++num_forwards_;
  return fail_one_in_ > 0 && num_forwards_ % fail_one_in_ == 0;
}

void KeyRecord::Look(std::uint64_t version, const StepBatch& batch) {
  CheckOwners(batch);
  for (const SessionSlice& slice : batch.slices) LookAt(version, slice);
}

void KeyRecord::LookAt(std::uint64_t version, const SessionSlice& slice) {
  Keys keys;
  for (std::int64_t p = 0; p < slice.num_cached_tokens; ++p) {
    const std::uint64_t* key = At(slice, p);
    keys.push_back(key == nullptr ? 0 : *key);
  }
  if (std::count(keys.begin(), keys.end(), 0) > 0) {
    violations_.push_back("a key is read that nobody has written");
  }
  if (keys.empty()) {
    keys.resize(static_cast<std::size_t>(policy_.spec().num_prefix_tokens),
                version);
  }
  const std::size_t first_answered =
      slice.steps.size() - static_cast<std::size_t>(slice.num_answered);
  for (std::size_t i = 0; i < slice.steps.size(); ++i) {
    const auto tokens = policy_.CountTokens(slice.steps[i]);
    keys.resize(keys.size() + static_cast<std::size_t>(tokens.value_or(0)),
                version);
    if (i >= first_answered) answered_[slice.steps[i]] = keys;
  }
  for (std::int64_t p = slice.num_cached_tokens;
       p < static_cast<std::int64_t>(keys.size()); ++p) {
    std::uint64_t* key = At(slice, p);
    if (key != nullptr) *key = slice.is_final ? 0 : version;
  }
}

void KeyRecord::Spoil(const StepBatch& batch) {
  for (const SessionSlice& slice : batch.slices) {
    for (std::int64_t p = slice.num_cached_tokens; p < EndOf(slice); ++p) {
      if (std::uint64_t* key = At(slice, p); key != nullptr) *key = 0;
    }
  }
}

void KeyRecord::Copy(std::int32_t from, std::int32_t to) {
  const auto first = [this](std::int32_t block) {
    return versions_.begin() + block * tokens_per_block_;
  };
  std::copy_n(first(from), tokens_per_block_, first(to));
}

std::int64_t KeyRecord::EndOf(const SessionSlice& slice) const {
  std::int64_t end = slice.num_cached_tokens;
  if (end == 0) end = policy_.spec().num_prefix_tokens;
  for (absl::string_view step : slice.steps) {
    end += policy_.CountTokens(step).value_or(0);
  }
  return end;
}

std::uint64_t* KeyRecord::At(const SessionSlice& slice, std::int64_t position) {
  const auto index = static_cast<std::size_t>(position / tokens_per_block_);
  if (index >= slice.blocks.size()) {
    violations_.push_back(absl::StrCat("no block for position ", position));
    return nullptr;
  }
  return &versions_[static_cast<std::size_t>(
      slice.blocks[index] * tokens_per_block_ + position % tokens_per_block_)];
}

// A block that one slice writes is used by its session alone, and in no other
// slice's table.
void KeyRecord::CheckOwners(const StepBatch& batch) {
  absl::flat_hash_map<std::int32_t, int> num_tables;
  for (const SessionSlice& slice : batch.slices) {
    for (const std::int32_t block : slice.blocks) ++num_tables[block];
  }
  for (const SessionSlice& slice : batch.slices) {
    const auto first =
        static_cast<std::size_t>(slice.num_cached_tokens / tokens_per_block_);
    const auto end = static_cast<std::size_t>(
        (EndOf(slice) + tokens_per_block_ - 1) / tokens_per_block_);
    for (std::size_t i = first; i < std::min(end, slice.blocks.size()); ++i) {
      const std::int32_t block = slice.blocks[i];
      if (num_tables[block] == 1 &&
          (num_users_ == nullptr || num_users_(block) == 1)) {
        continue;
      }
      violations_.push_back(
          absl::StrCat("block ", block, " is written and shared"));
    }
  }
}

}  // namespace stepd
