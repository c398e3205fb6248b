// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/fakes/fake_policy.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"

namespace stepd {
namespace {

constexpr std::uint64_t kSpoiled = 0xdeaddeaddeaddead;

// Finaliser of SplitMix64.
std::uint64_t Mix(std::uint64_t x) {
  x = (x + 0x9e3779b97f4a7c15);
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

std::uint64_t HashBytes(absl::string_view bytes) {
  std::uint64_t hash = bytes.size();
  for (char c : bytes) hash = Mix(hash ^ static_cast<unsigned char>(c));
  return hash;
}

bool IsNanStep(absl::string_view step) {
  return step == EncodeFakeStep(kNanStep);
}

// Token `token` of a step (or of the prefix) under some weights.
std::uint64_t NextLink(std::uint64_t link, absl::string_view step, int token,
                       std::uint64_t weights) {
  // The lowest bit says whether this step's scores are NaN.
  const std::uint64_t next =
      Mix(link ^ HashBytes(step) ^ Mix(static_cast<std::uint64_t>(token)) ^
          (weights << 32));
  return (next & ~std::uint64_t{1}) | (IsNanStep(step) ? 1 : 0);
}

// Of the link before the first step, and before the prefix tokens.
std::uint64_t FirstLink(absl::string_view session_inputs) {
  return session_inputs.empty() ? 0 : HashBytes(session_inputs) & ~1ULL;
}

// In [-2, 2).
float Number(std::uint64_t link, std::uint64_t salt) {
  const std::uint64_t bits = Mix(link ^ Mix(salt + 1)) >> 40;
  return static_cast<float>(bits) / 4194304.0F - 2.0F;
}

std::vector<float> ScoresOf(std::uint64_t link, std::int64_t num_actions) {
  std::vector<float> scores;
  for (std::int64_t a = 0; a < num_actions; ++a) {
    scores.push_back((link & 1) != 0
                         ? std::numeric_limits<float>::quiet_NaN()
                         : Number(link, static_cast<std::uint64_t>(a)));
  }
  return scores;
}

float ValueOf(std::uint64_t link) { return Number(link, 1000); }

std::vector<float> HiddenOf(std::uint64_t link) {
  return {Number(link, 2000), Number(link, 2001)};
}

}  // namespace

FakeHistory::FakeHistory(const FakePolicyOptions& options,
                         absl::string_view session_inputs)
    : options_(options), link_(FirstLink(session_inputs)) {
  for (int t = 0; t < options.num_prefix_tokens; ++t) {
    link_ = NextLink(link_, "prefix", t, options_.weights);
  }
}

void FakeHistory::Append(absl::string_view step) {
  const int num_tokens = CountFakeTokens(options_, step);
  if (options_.kv_bytes_per_token == 0) link_ = 0;  // no cache, no memory
  for (int t = 0; t < num_tokens; ++t)
    link_ = NextLink(link_, step, t, options_.weights);
}

std::vector<float> FakeHistory::Scores() const {
  return ScoresOf(link_, options_.num_actions);
}
float FakeHistory::Value() const { return ValueOf(link_); }
std::vector<float> FakeHistory::Hidden() const { return HiddenOf(link_); }

int CountFakeTokens(const FakePolicyOptions& options, absl::string_view step) {
  const int spread =
      options.max_tokens_per_step - options.min_tokens_per_step + 1;
  return options.min_tokens_per_step +
         static_cast<int>(HashBytes(step) % static_cast<unsigned>(spread));
}

std::string EncodeFakeStep(std::int64_t x) {
  return std::string(reinterpret_cast<const char*>(&x), sizeof(x));
}

// The inputs it was made of, and by whom.
class FakePreparedInputs : public PreparedInputs {
 public:
  FakePreparedInputs(absl::string_view session_inputs,
                     const PolicyRunner* maker, std::function<void()> at_end)
      : session_inputs_(session_inputs),
        maker_(maker),
        at_end_(std::move(at_end)) {}
  ~FakePreparedInputs() override { at_end_(); }
  FakePreparedInputs(const FakePreparedInputs&) = delete;
  FakePreparedInputs& operator=(const FakePreparedInputs&) = delete;

  absl::string_view session_inputs() const { return session_inputs_; }
  const PolicyRunner* maker() const { return maker_; }

 private:
  const std::string session_inputs_;
  const PolicyRunner* const maker_;
  const std::function<void()> at_end_;
};

struct TokenRecord {
  std::uint64_t previous_link = 0;
  std::uint64_t link = 0;
};

// One record per token of every block.
struct FakeKvMemory : public KvMemory {
  std::vector<TokenRecord> records;
};

class FakeRunner : public PolicyRunner {
 public:
  // REQUIRES: memory->records has a record for each token of the blocks.
  FakeRunner(const FakePolicy& policy, const RunnerOptions& options,
             std::shared_ptr<FakeKvMemory> memory)
      : options_(policy.options_),
        spec_(policy.spec_),
        state_(*policy.state_),
        num_blocks_(options.num_blocks),
        memory_(std::move(memory)) {}

  ~FakeRunner() override {
    if (num_prepared_inputs_ != 0) Violate("a runner died before its inputs");
  }

  std::shared_ptr<KvMemory> kv_memory() const override { return memory_; }

  absl::Status Forward(const StepBatch& batch, StepResult* result) override {
    PassGate();
    const bool must_fail = Record(batch);
    CheckOwners(batch);
    result->num_rows = 0;
    result->scores.clear();
    result->outputs.assign(spec_.outputs.size(), {});
    for (const SessionSlice& slice : batch.slices) {
      // Nobody may read what a final slice writes.
      RunSlice(slice, batch.outputs, must_fail || slice.is_final, result);
    }
    if (must_fail) {
      result->scores.assign(result->scores.size(), 77.0F);
      return absl::InternalError("told to fail");
    }
    return absl::OkStatus();
  }

  void CopyBlock(std::int32_t from, std::int32_t to) override {
    const auto first = [this](std::int32_t block) {
      return memory_->records.begin() +
             block * std::ptrdiff_t{options_.tokens_per_block};
    };
    std::copy_n(first(from), options_.tokens_per_block, first(to));
  }

  absl::StatusOr<std::shared_ptr<const PreparedInputs>> PrepareInputs(
      absl::string_view session_inputs) override {
    if (session_inputs == EncodeFakeStep(kBadInput)) {
      return absl::InternalError("told to prepare nothing");
    }
    FakePolicy::State* state = &state_;
    MutexLock lock(&state->mu);
    ++state->num_inputs_prepared;
    ++state->num_prepared_inputs;
    ++num_prepared_inputs_;
    return std::make_shared<const FakePreparedInputs>(
        session_inputs, this, [this, state] {
          --num_prepared_inputs_;
          MutexLock lock(&state->mu);
          --state->num_prepared_inputs;
        });
  }

 private:
  void Violate(const std::string& what) {
    MutexLock lock(&state_.mu);
    state_.violations.push_back(what);
  }

  void PassGate() {
    MutexLock lock(&state_.mu);
    if (!state_.is_paused) return;
    ++state_.num_at_gate;
    state_.changed.NotifyAll();
    while (state_.is_paused) state_.changed.Wait(&state_.mu);
    --state_.num_at_gate;
  }

  // Whether this forward must fail.
  bool Record(const StepBatch& batch) {
    FakePolicy::ForwardRecord record;
    record.num_slices = static_cast<int>(batch.slices.size());
    for (const SessionSlice& slice : batch.slices) {
      for (absl::string_view step : slice.steps) {
        record.num_tokens += CountFakeTokens(options_, step);
      }
      if (slice.num_cached_tokens == 0) {
        record.num_tokens += options_.num_prefix_tokens;
      }
      record.num_rows += slice.num_answered;
    }
    if (record.num_tokens == 0) Violate("an empty batch");
    MutexLock lock(&state_.mu);
    const auto index = static_cast<std::int64_t>(state_.forwards.size());
    state_.forwards.push_back(record);
    return state_.must_fail && state_.must_fail(index);
  }

  // A block that one slice writes must be in no other slice's table.
  void CheckOwners(const StepBatch& batch) {
    std::map<std::int32_t, int> num_owners;
    for (const SessionSlice& slice : batch.slices) {
      for (std::int32_t block : slice.blocks) ++num_owners[block];
    }
    for (const SessionSlice& slice : batch.slices) {
      for (std::int32_t block : WrittenBlocks(slice)) {
        if (num_owners[block] == 1) continue;
        Violate(absl::StrCat("block ", block, " written and shared"));
      }
    }
  }

  std::set<std::int32_t> WrittenBlocks(const SessionSlice& slice) {
    std::set<std::int32_t> written;
    if (!HasCache()) return written;
    std::int64_t end = slice.num_cached_tokens;
    if (end == 0) end = options_.num_prefix_tokens;
    for (absl::string_view step : slice.steps) {
      end += CountFakeTokens(options_, step);
    }
    for (std::int64_t p = slice.num_cached_tokens; p < end; ++p) {
      written.insert(BlockOf(slice, p));
    }
    return written;
  }

  bool HasCache() const { return options_.kv_bytes_per_token > 0; }

  // -1: the table is too short.
  std::int32_t BlockOf(const SessionSlice& slice, std::int64_t position) {
    const auto index =
        static_cast<std::size_t>(position / options_.tokens_per_block);
    if (index >= slice.blocks.size()) {
      Violate(absl::StrCat("no block for position ", position));
      return -1;
    }
    const std::int32_t block = slice.blocks[index];
    if (block < 0 || block >= num_blocks_) {
      Violate(absl::StrCat("block id ", block, " out of range"));
      return -1;
    }
    return block;
  }

  TokenRecord* At(const SessionSlice& slice, std::int64_t position) {
    const std::int32_t block = BlockOf(slice, position);
    if (block < 0) return nullptr;
    return &memory_->records[static_cast<std::size_t>(
        block * std::int64_t{options_.tokens_per_block} +
        position % options_.tokens_per_block)];
  }

  // The link of the last cached token, checked from the first one on.
  std::uint64_t WalkCached(const SessionSlice& slice) {
    std::uint64_t link = FirstLink(slice.session_inputs);
    for (std::int64_t p = 0; p < slice.num_cached_tokens; ++p) {
      const TokenRecord* record = At(slice, p);
      if (record == nullptr) return kSpoiled;
      if (record->previous_link != link) {
        Violate(absl::StrCat("position ", p, " of ", slice.num_cached_tokens,
                             " is not of this session"));
        return kSpoiled;
      }
      link = record->link;
    }
    return link;
  }

  void RunSlice(const SessionSlice& slice, OutputMask outputs, bool spoils,
                StepResult* result) {
    CheckSlice(slice);
    std::uint64_t link = HasCache() ? WalkCached(slice) : 0;
    std::int64_t position = slice.num_cached_tokens;
    if (position == 0) {
      for (int t = 0; t < options_.num_prefix_tokens; ++t, ++position) {
        const std::uint64_t next =
            NextLink(link, "prefix", t, options_.weights);
        Write(slice, position, {link, next}, spoils);
        link = next;
      }
    }
    const std::size_t first_answered =
        slice.steps.size() - static_cast<std::size_t>(slice.num_answered);
    for (std::size_t i = 0; i < slice.steps.size(); ++i) {
      const int num_tokens = CountFakeTokens(options_, slice.steps[i]);
      if (!HasCache()) link = 0;
      for (int t = 0; t < num_tokens; ++t, ++position) {
        const std::uint64_t next =
            NextLink(link, slice.steps[i], t, options_.weights);
        Write(slice, position, {link, next}, spoils);
        link = next;
      }
      if (i >= first_answered) Answer(link, outputs, result);
    }
  }

  void CheckSlice(const SessionSlice& slice) {
    if (slice.steps.empty()) Violate("a slice without steps");
    if (options_.recomputes &&
        (slice.num_cached_tokens != 0 || slice.num_answered != 1)) {
      Violate("a slice that is not computed as a whole");
    }
    if (options_.session_fields.empty()) return;
    const auto* prepared =
        dynamic_cast<const FakePreparedInputs*>(slice.prepared_inputs);
    if (prepared == nullptr) {
      Violate("a slice without prepared inputs");
    } else if (prepared->session_inputs() != slice.session_inputs) {
      Violate("prepared inputs of another session");
    } else if (prepared->maker() != this) {
      Violate("prepared inputs of another runner");
    }
  }

  void Write(const SessionSlice& slice, std::int64_t position,
             const TokenRecord& record, bool spoils) {
    TokenRecord* place = HasCache() ? At(slice, position) : nullptr;
    if (place == nullptr) return;
    *place = spoils ? TokenRecord{kSpoiled, kSpoiled} : record;
  }

  void Answer(std::uint64_t link, OutputMask outputs, StepResult* result) {
    ++result->num_rows;
    for (float score : ScoresOf(link, options_.num_actions)) {
      result->scores.push_back(score);
    }
    if ((outputs & 1) != 0) result->outputs[0].push_back(ValueOf(link));
    if ((outputs & 2) != 0) {
      for (float number : HiddenOf(link)) result->outputs[1].push_back(number);
    }
  }

  const FakePolicyOptions& options_;
  const PolicySpec& spec_;
  FakePolicy::State& state_;
  const std::int32_t num_blocks_;
  const std::shared_ptr<FakeKvMemory> memory_;
  int num_prepared_inputs_ = 0;
};

FakePolicy::FakePolicy(const FakePolicyOptions& options)
    : options_(options), state_(std::make_unique<State>()) {
  spec_.summary = "fake";
  spec_.fields = options.fields;
  spec_.session_fields = options.session_fields;
  spec_.num_prefix_tokens = options.num_prefix_tokens;
  spec_.recomputes = options.recomputes;
  spec_.outputs = {OutputSpec{"value", {}}, OutputSpec{"hidden", {2}}};
  spec_.action_head = "q";
  spec_.num_actions = options.num_actions;
  spec_.min_tokens_per_step = options.min_tokens_per_step;
  spec_.max_tokens_per_step = options.max_tokens_per_step;
  spec_.max_tokens = options.max_tokens;
  spec_.device = "cpu";
  spec_.dtype = "float32";
  spec_.tokens_per_block = options.tokens_per_block;
  spec_.kv_bytes_per_token = options.kv_bytes_per_token;
}

absl::StatusOr<int> FakePolicy::CountTokens(absl::string_view step) const {
  std::vector<FieldValue> values(spec_.fields.size());
  if (!StepLayout(spec_.fields).Decode(step, absl::MakeSpan(values))) {
    return absl::InvalidArgumentError("not a step of the fake policy");
  }
  return CountFakeTokens(options_, step);
}

absl::Status FakePolicy::CheckSessionInputs(
    absl::string_view session_inputs) const {
  if (session_inputs != EncodeFakeStep(kBadInput)) return absl::OkStatus();
  return absl::InvalidArgumentError("a bad input");
}

absl::StatusOr<std::unique_ptr<PolicyRunner>> FakePolicy::CreateRunner(
    const RunnerOptions& options) const {
  const auto num_records = static_cast<std::size_t>(options.num_blocks) *
                           static_cast<std::size_t>(options_.tokens_per_block);
  auto memory = std::dynamic_pointer_cast<FakeKvMemory>(options.kv_memory);
  if (options.kv_memory == nullptr) {
    memory = std::make_shared<FakeKvMemory>();
    memory->records.resize(num_records);
  } else if (memory == nullptr || memory->records.size() != num_records) {
    return absl::InvalidArgumentError("KV memory of another shape");
  }
  return std::make_unique<FakeRunner>(*this, options, std::move(memory));
}

int FakePolicy::num_inputs_prepared() const {
  MutexLock lock(&state_->mu);
  return state_->num_inputs_prepared;
}

int FakePolicy::num_prepared_inputs() const {
  MutexLock lock(&state_->mu);
  return state_->num_prepared_inputs;
}

void FakePolicy::FailForwards(std::function<bool(std::int64_t)> must_fail) {
  MutexLock lock(&state_->mu);
  state_->must_fail = std::move(must_fail);
}

void FakePolicy::Pause() {
  MutexLock lock(&state_->mu);
  state_->is_paused = true;
}

void FakePolicy::WaitUntilPaused() const {
  MutexLock lock(&state_->mu);
  while (state_->num_at_gate == 0) state_->changed.Wait(&state_->mu);
}

void FakePolicy::Resume() {
  MutexLock lock(&state_->mu);
  state_->is_paused = false;
  state_->changed.NotifyAll();
}

std::vector<FakePolicy::ForwardRecord> FakePolicy::forwards() const {
  MutexLock lock(&state_->mu);
  return state_->forwards;
}

std::vector<std::string> FakePolicy::violations() const {
  MutexLock lock(&state_->mu);
  return state_->violations;
}

}  // namespace stepd
