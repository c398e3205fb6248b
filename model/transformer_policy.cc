// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/transformer_policy.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ATen/Functions.h"
#include "ATen/core/grad_mode.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "model/batch_plan.h"
#include "model/decoder/decoder.h"
#include "model/embedders/session_embedder.h"
#include "model/embedders/step_embedder.h"
#include "model/heads/output_head.h"
#include "model/kernels/cpu_kernels.h"
#include "model/kv_cache/kv_cache.h"
#include "model/kv_cache/source_cache.h"
#include "model/layers/scratch.h"
#include "model/prepared_inputs_map.h"

namespace stepd {
namespace {

using kernels::KernelSet;

constexpr int kTokensPerBlock = kernels::kCpuTokensPerBlock;

// Outputs that every policy has besides its heads; scores if it has actions.
constexpr char kScores[] = "scores";
constexpr char kHidden[] = "hidden";
// Of policies with heads that read inner layers: what they read, and hidden.
constexpr char kHiddenLayers[] = "hidden_layers";

// Where a head reads and writes.
struct PlacedHead {
  OutputHead head;
  int read = -1;   // index of the layer it reads; -1: the decoder's output
  int output = 0;  // index into the spec's outputs
  int entry = 0;   // of that output, if heads are stacked
  bool is_stacked = false;
};

class TransformerPolicy : public Policy {
 public:
  TransformerPolicy(const PolicyDescription& description,
                    std::unique_ptr<const KernelSet> kernels);

  const PolicySpec& spec() const override { return spec_; }
  absl::StatusOr<int> CountTokens(absl::string_view step) const override;
  absl::Status CheckSessionInputs(
      absl::string_view session_inputs) const override;
  absl::StatusOr<std::unique_ptr<PolicyRunner>> CreateRunner(
      const RunnerOptions& options) const override;

 private:
  friend class TransformerRunner;

  void PlaceHeads(const PolicyDescription& description);
  void DescribeOutputs(const PolicyDescription& description);

  std::unique_ptr<const KernelSet> kernels_;
  StepEmbedder embedder_;
  std::optional<SessionEmbedder> prefix_;
  std::optional<SessionEmbedder> source_;
  std::optional<SessionEmbedder> condition_;
  Decoder decoder_;
  BatchPlanOptions plan_options_;
  std::vector<PlacedHead> heads_;
  std::vector<int> read_layers_;  // that heads read, ascending
  int action_head_ = -1;          // index into heads_; -1: no actions
  ScoreRule score_rule_;
  int scores_output_ = -1;  // -1: no actions
  int hidden_output_ = 0;
  int hidden_layers_output_ = -1;  // -1: no head reads an inner layer
  PolicySpec spec_;
};

// The KV cache of one executor, and what it was made for.
class TransformerKvMemory : public KvMemory {
 public:
  TransformerKvMemory(std::vector<KvCacheSpec> slots, std::int64_t num_tokens,
                      at::Device device, KvCache cache)
      : slots_(std::move(slots)),
        num_tokens_(num_tokens),
        device_(device),
        cache_(std::move(cache)) {}

  // Its copies share the memory.
  const KvCache& cache() const { return cache_; }
  bool Fits(const std::vector<KvCacheSpec>& slots, std::int64_t num_tokens,
            at::Device device) const {
    return slots == slots_ && num_tokens == num_tokens_ && device == device_;
  }

 private:
  const std::vector<KvCacheSpec> slots_;
  const std::int64_t num_tokens_;
  const at::Device device_;
  const KvCache cache_;
};

class TransformerRunner : public PolicyRunner {
 public:
  TransformerRunner(const TransformerPolicy& policy,
                    std::shared_ptr<TransformerKvMemory> memory)
      : policy_(policy),
        memory_(std::move(memory)),
        state_{memory_->cache(), policy.decoder_.MakeRopeCaches()},
        scratch_(policy.kernels_->device()),
        plan_(policy.embedder_, policy.plan_options_) {}

  void Reserve(std::int64_t num_tokens, std::int64_t num_rows);
  absl::Status Forward(const StepBatch& batch, StepResult* result) override;
  void CopyBlock(std::int32_t from, std::int32_t to) override {
    state_.cache.CopyTokens(std::int64_t{from} * policy_.spec_.tokens_per_block,
                            std::int64_t{to} * policy_.spec_.tokens_per_block,
                            policy_.spec_.tokens_per_block);
  }
  absl::StatusOr<std::shared_ptr<const PreparedInputs>> PrepareInputs(
      absl::string_view session_inputs) override;
  std::shared_ptr<KvMemory> kv_memory() const override { return memory_; }

 private:
  void ForwardOrThrow(const StepBatch& batch, StepResult* result);
  absl::StatusOr<std::unique_ptr<PreparedInputs>> MakePreparedInputs(
      absl::string_view session_inputs) const;
  void EmbedPrefixes(const StepBatch& batch, float* x) const;
  void FindPreparedInputs(const StepBatch& batch);
  void ReadRows(const float* x, const float* read, OutputMask wanted,
                StepResult* result);
  // `values` [rows, width] become entry `entry` of the rows of an output.
  void CopyStacked(int output, int entry, absl::Span<const float> values,
                   StepResult* result) const;
  void CopyHiddenLayers(const float* read, const float* hidden,
                        StepResult* result);
  void FillScores(absl::Span<const float> values, StepResult* result);

  const TransformerPolicy& policy_;
  const std::shared_ptr<TransformerKvMemory> memory_;
  DecoderState state_;
  Scratch scratch_;
  PreparedInputsMap prepared_;
  // Of the batch at hand; members so that their memory is kept.
  BatchPlan plan_;
  EmbedColumn embed_column_;
  std::vector<const SourceCache*> sources_;
  std::vector<const float*> modulations_;
  std::vector<float> stacked_values_;  // of the stacked head at hand
};

// What is derived of a session's inputs once.
struct TransformerInputs : PreparedInputs {
  std::optional<SourceCache> source;
  at::Tensor modulations;
};

OutputMask Bit(int output) { return OutputMask{1} << output; }

// ---- Policy ----------------------------------------------------------------

TransformerPolicy::TransformerPolicy(const PolicyDescription& description,
                                     std::unique_ptr<const KernelSet> kernels)
    : kernels_(std::move(kernels)),
      embedder_(description.embedder, description.fields, *kernels_),
      decoder_(description.decoder, *kernels_, kTokensPerBlock),
      score_rule_(description.action.rule) {
  plan_options_.tokens_per_block = kTokensPerBlock;
  plan_options_.has_cache = !decoder_.kv_slots().empty();
  if (description.prefix.has_value()) {
    prefix_.emplace(description.prefix->rows, description.session_fields,
                    *kernels_);
    plan_options_.prefix = description.prefix->tokens;
    plan_options_.num_prefix_tokens = static_cast<int>(prefix_->num_rows());
  }
  if (description.source.has_value()) {
    source_.emplace(*description.source, description.session_fields, *kernels_);
  }
  if (description.condition.has_value()) {
    condition_.emplace(*description.condition, description.session_fields,
                       *kernels_);
  }
  PlaceHeads(description);
  spec_.num_prefix_tokens = plan_options_.num_prefix_tokens;
  spec_.format = description.format;
  spec_.summary = description.summary;
  spec_.fields = description.fields;
  spec_.session_fields = description.session_fields;
  spec_.recomputes = description.recomputes;
  spec_.num_actions = description.action.num_actions;
  spec_.action_head = description.action.head;
  spec_.min_tokens_per_step = embedder_.min_tokens_per_step();
  spec_.max_tokens_per_step = embedder_.max_tokens_per_step();
  spec_.max_tokens = description.max_tokens;
  spec_.num_parameters = description.num_parameters;
  spec_.weight_bytes = kernels_->resident_bytes();
  spec_.device = kernels_->device().str();
  spec_.dtype = kernels_->precision() == WeightPrecision::kFloat32 ? "float32"
                                                                   : "bfloat16";
  spec_.kernels = kernels_->description();
  spec_.layers = decoder_.layers();
  spec_.tokens_per_block = kTokensPerBlock;
  spec_.kv_bytes_per_token = decoder_.kv_bytes_per_token();
  DescribeOutputs(description);
}

void TransformerPolicy::PlaceHeads(const PolicyDescription& description) {
  for (const OutputHeadConfig& head : description.heads) {
    if (head.read_layer.has_value()) read_layers_.push_back(*head.read_layer);
  }
  std::sort(read_layers_.begin(), read_layers_.end());
  read_layers_.erase(std::unique(read_layers_.begin(), read_layers_.end()),
                     read_layers_.end());
  for (const OutputHeadConfig& head : description.heads) {
    PlacedHead placed{OutputHead(head, *kernels_)};
    if (head.read_layer.has_value()) {
      placed.read = static_cast<int>(std::lower_bound(read_layers_.begin(),
                                                      read_layers_.end(),
                                                      *head.read_layer) -
                                     read_layers_.begin());
    }
    heads_.push_back(std::move(placed));
  }
}

// Fills the outputs, and in the heads where in them they write.
void TransformerPolicy::DescribeOutputs(const PolicyDescription& description) {
  const std::vector<OutputHeadConfig>& heads = description.heads;
  for (std::size_t first = 0; first < heads.size();) {
    std::size_t end = first + 1;
    while (heads[first].is_stacked && end < heads.size() &&
           heads[end].name == heads[first].name) {
      ++end;
    }
    OutputSpec output{heads[first].name, heads[first].shape};
    if (heads[first].is_stacked) {
      output.shape.insert(output.shape.begin(),
                          static_cast<std::int64_t>(end - first));
    }
    for (std::size_t i = first; i < end; ++i) {
      heads_[i].output = static_cast<int>(spec_.outputs.size());
      heads_[i].entry = static_cast<int>(i - first);
      heads_[i].is_stacked = heads[first].is_stacked;
      if (heads[i].name == spec_.action_head) {
        action_head_ = static_cast<int>(i);
      }
    }
    spec_.outputs.push_back(std::move(output));
    first = end;
  }
  spec_.q_output = spec_.FindOutput(description.q_head);
  if (spec_.num_actions > 0) {
    scores_output_ = static_cast<int>(spec_.outputs.size());
    spec_.outputs.push_back({kScores, {spec_.num_actions}});
  }
  hidden_output_ = static_cast<int>(spec_.outputs.size());
  spec_.outputs.push_back({kHidden, {decoder_.hidden_dim()}});
  if (read_layers_.empty()) return;
  hidden_layers_output_ = static_cast<int>(spec_.outputs.size());
  spec_.outputs.push_back({kHiddenLayers,
                           {static_cast<std::int64_t>(read_layers_.size()) + 1,
                            decoder_.hidden_dim()}});
}

absl::StatusOr<int> TransformerPolicy::CountTokens(
    absl::string_view step) const {
  return embedder_.CountTokens(step);
}

absl::Status TransformerPolicy::CheckSessionInputs(
    absl::string_view session_inputs) const {
  for (const std::optional<SessionEmbedder>* rows :
       {&prefix_, &source_, &condition_}) {
    if (!rows->has_value()) continue;
    const absl::Status status = (*rows)->Check(session_inputs);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<PolicyRunner>> TransformerPolicy::CreateRunner(
    const RunnerOptions& options) const {
  const std::vector<KvCacheSpec>& slots = decoder_.kv_slots();
  const std::int64_t num_tokens =
      std::int64_t{options.num_blocks} * kTokensPerBlock;
  const at::Device device = kernels_->device();
  auto memory =
      std::dynamic_pointer_cast<TransformerKvMemory>(options.kv_memory);
  if (options.kv_memory == nullptr) {
    absl::StatusOr<KvCache> cache = KvCache::Create(slots, num_tokens, device);
    if (!cache.ok()) return cache.status();
    memory = std::make_shared<TransformerKvMemory>(slots, num_tokens, device,
                                                   *std::move(cache));
  } else if (memory == nullptr || !memory->Fits(slots, num_tokens, device)) {
    return absl::InvalidArgumentError(
        "the KV cache in use does not fit the policy: its layers cache other "
        "keys and values");
  }
  auto runner = std::make_unique<TransformerRunner>(*this, std::move(memory));
  try {
    runner->Reserve(options.max_batch_tokens, options.max_batch_tokens);
  } catch (const std::exception& error) {
    return absl::ResourceExhaustedError(
        absl::StrCat("scratch memory for ", options.max_batch_tokens,
                     " tokens does not fit: ", error.what()));
  }
  return std::unique_ptr<PolicyRunner>(std::move(runner));
}

// ---- Runner ----------------------------------------------------------------

void TransformerRunner::Reserve(std::int64_t num_tokens,
                                std::int64_t num_rows) {
  const std::int64_t width = policy_.decoder_.hidden_dim();
  std::int64_t heads = 0;
  for (const PlacedHead& placed : policy_.heads_) {
    heads = std::max(heads, placed.head.ScratchSize(num_rows));
  }
  const auto num_reads = static_cast<std::int64_t>(policy_.read_layers_.size());
  scratch_.Reserve(Scratch::Rounded(num_tokens * width) +
                   Scratch::Rounded(num_rows * width) +
                   Scratch::Rounded(num_reads * num_rows * width) +
                   std::max({policy_.embedder_.ScratchSize(),
                             policy_.decoder_.ScratchSize(num_tokens), heads}));
}

// Here and in PrepareInputs() LibTorch's exceptions become a status.
absl::Status TransformerRunner::Forward(const StepBatch& batch,
                                        StepResult* result) {
  try {
    ForwardOrThrow(batch, result);
  } catch (const std::exception& error) {
    return absl::InternalError(
        absl::StrCat("the forward of ", batch.slices.size(),
                     " sessions failed: ", error.what()));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const PreparedInputs>>
TransformerRunner::PrepareInputs(absl::string_view session_inputs) {
  if (!policy_.decoder_.reads_source() &&
      policy_.decoder_.condition_dim() == 0) {
    return nullptr;
  }
  try {
    return prepared_.FindOrMake(
        session_inputs, [&] { return MakePreparedInputs(session_inputs); });
  } catch (const std::exception& error) {
    return absl::InternalError(
        absl::StrCat("a session's inputs could not be read: ", error.what()));
  }
}

absl::StatusOr<std::unique_ptr<PreparedInputs>>
TransformerRunner::MakePreparedInputs(absl::string_view session_inputs) const {
  const at::NoGradGuard no_grad;
  const auto embed = [&](const SessionEmbedder& embedder, at::Tensor* rows) {
    *rows = at::empty(
        {embedder.num_rows(), embedder.dim()},
        at::TensorOptions(at::kFloat).device(policy_.kernels_->device()));
    return embedder.Embed(session_inputs, rows->data_ptr<float>());
  };
  auto prepared = std::make_unique<TransformerInputs>();
  at::Tensor rows;
  const float* modulations = nullptr;
  if (policy_.decoder_.condition_dim() > 0) {
    embed(*policy_.condition_, &rows);
    prepared->modulations =
        policy_.decoder_.PrepareModulations(rows.const_data_ptr<float>());
    modulations = prepared->modulations.const_data_ptr<float>();
  }
  if (policy_.decoder_.reads_source()) {
    const std::int64_t num_rows = embed(*policy_.source_, &rows);
    absl::StatusOr<SourceCache> source = policy_.decoder_.ReadSource(
        rows.const_data_ptr<float>(), num_rows, modulations);
    if (!source.ok()) return source.status();
    prepared->source = *std::move(source);
  }
  return prepared;
}

namespace {

class ForwardScope {
 public:
  ForwardScope(const KernelSet& kernels, std::int64_t rows)
      : kernels_(kernels) {
    kernels_.BeginForward(rows);
  }
  ~ForwardScope() { kernels_.EndForward(); }
  ForwardScope(const ForwardScope&) = delete;
  ForwardScope& operator=(const ForwardScope&) = delete;

 private:
  const KernelSet& kernels_;
};

}  // namespace

// embed -> layout -> decode -> gather each answered step's last token -> heads
void TransformerRunner::ForwardOrThrow(const StepBatch& batch,
                                       StepResult* result) {
  const at::NoGradGuard no_grad;
  plan_.Assign(batch);
  const std::int64_t num_tokens = plan_.layout().num_tokens();
  const auto num_rows = static_cast<std::int64_t>(plan_.answered_rows().size());
  Reserve(num_tokens, num_rows);
  const ForwardScope forward(*policy_.kernels_, num_tokens);
  const Scratch::Scope scope(&scratch_);
  float* x = scratch_.Take(num_tokens * policy_.decoder_.hidden_dim());
  float* read =
      scratch_.Take(static_cast<std::int64_t>(policy_.read_layers_.size()) *
                    num_rows * policy_.decoder_.hidden_dim());
  policy_.embedder_.Embed(plan_.steps(), &scratch_, &embed_column_, x);
  EmbedPrefixes(batch, x);
  FindPreparedInputs(batch);
  policy_.decoder_.Forward({plan_.layout(),
                            {plan_.answered_rows(), policy_.read_layers_, read},
                            sources_,
                            modulations_},
                           &state_, &scratch_, x);
  result->num_rows = num_rows;
  result->outputs.resize(policy_.spec_.outputs.size());
  ReadRows(x, read, batch.outputs, result);
}

// The prefixes of the slices that begin with them.
void TransformerRunner::EmbedPrefixes(const StepBatch& batch, float* x) const {
  for (const BatchPlan::Prefix& prefix : plan_.prefixes()) {
    policy_.prefix_->Embed(
        batch.slices[prefix.slice].session_inputs,
        x + prefix.first_row * policy_.decoder_.hidden_dim());
  }
}

void TransformerRunner::FindPreparedInputs(const StepBatch& batch) {
  sources_.clear();
  modulations_.clear();
  for (const SessionSlice& slice : batch.slices) {
    const auto* prepared =
        static_cast<const TransformerInputs*>(slice.prepared_inputs);
    if (policy_.decoder_.reads_source()) {
      sources_.push_back(&*prepared->source);
    }
    if (policy_.decoder_.condition_dim() > 0) {
      modulations_.push_back(prepared->modulations.const_data_ptr<float>());
    }
  }
}

// `read` [read layers, rows, D] is what the heads of inner layers read.
void TransformerRunner::ReadRows(const float* x, const float* read,
                                 OutputMask wanted, StepResult* result) {
  const KernelSet& kernels = *policy_.kernels_;
  const std::int64_t rows = result->num_rows;
  const std::int64_t width = policy_.decoder_.hidden_dim();
  const auto resize = [&](int output) {
    const auto index = static_cast<std::size_t>(output);
    std::vector<float>& values = result->outputs[index];
    values.resize(static_cast<std::size_t>(
        rows * policy_.spec_.outputs[index].num_elements()));
    return values.data();
  };
  for (std::vector<float>& values : result->outputs) values.clear();
  result->scores.clear();
  if (rows == 0) return;

  float* hidden = scratch_.Take(rows * width);
  kernels.GatherRows(x, width, plan_.answered_rows(), hidden);
  policy_.decoder_.FinishRows(hidden, rows);
  for (std::size_t i = 0; i < policy_.heads_.size(); ++i) {
    const PlacedHead& placed = policy_.heads_[i];
    const bool is_wanted = (wanted & Bit(placed.output)) != 0;
    const bool acts = static_cast<int>(i) == policy_.action_head_;
    if (!is_wanted && !acts) continue;
    std::vector<float>& values =
        placed.is_stacked
            ? stacked_values_
            : result->outputs[static_cast<std::size_t>(placed.output)];
    values.resize(static_cast<std::size_t>(rows * placed.head.out_dim()));
    placed.head.Forward(
        kernels, placed.read < 0 ? hidden : read + placed.read * rows * width,
        rows, &scratch_, values.data());
    if (acts) FillScores(values, result);
    if (!is_wanted) {
      values.clear();
    } else if (placed.is_stacked) {
      CopyStacked(placed.output, placed.entry, values, result);
    }
  }
  if ((wanted & Bit(policy_.hidden_output_)) != 0) {
    kernels.CopyToHost(hidden, rows * width, resize(policy_.hidden_output_));
  }
  if (policy_.hidden_layers_output_ >= 0 &&
      (wanted & Bit(policy_.hidden_layers_output_)) != 0) {
    CopyHiddenLayers(read, hidden, result);
  }
  if (policy_.scores_output_ >= 0 &&
      (wanted & Bit(policy_.scores_output_)) != 0) {
    result->outputs[static_cast<std::size_t>(policy_.scores_output_)] =
        result->scores;
  }
}

void TransformerRunner::CopyStacked(int output, int entry,
                                    absl::Span<const float> values,
                                    StepResult* result) const {
  const auto index = static_cast<std::size_t>(output);
  const auto stride =
      static_cast<std::size_t>(policy_.spec_.outputs[index].num_elements());
  const auto rows = static_cast<std::size_t>(result->num_rows);
  const std::size_t width = values.size() / rows;
  std::vector<float>& to = result->outputs[index];
  to.resize(rows * stride);
  for (std::size_t i = 0; i < rows; ++i) {
    const absl::Span<const float> row = values.subspan(i * width, width);
    std::copy(row.begin(), row.end(),
              &to[i * stride + static_cast<std::size_t>(entry) * width]);
  }
}

// `read` [read layers, rows, D], `hidden` [rows, D].
void TransformerRunner::CopyHiddenLayers(const float* read, const float* hidden,
                                         StepResult* result) {
  const std::int64_t count = result->num_rows * policy_.decoder_.hidden_dim();
  const auto num_reads = static_cast<int>(policy_.read_layers_.size());
  stacked_values_.resize(static_cast<std::size_t>(count));
  for (int i = 0; i <= num_reads; ++i) {
    policy_.kernels_->CopyToHost(i < num_reads ? read + i * count : hidden,
                                 count, stacked_values_.data());
    CopyStacked(policy_.hidden_layers_output_, i, stacked_values_, result);
  }
}

// `values` are what the action head gave for every row.
void TransformerRunner::FillScores(absl::Span<const float> values,
                                   StepResult* result) {
  if (policy_.score_rule_ == ScoreRule::kOutput) {
    result->scores.assign(values.begin(), values.end());
    return;
  }
  const auto actions = static_cast<std::size_t>(policy_.spec_.num_actions);
  const auto rows = static_cast<std::size_t>(result->num_rows);
  const std::size_t elements = values.size() / rows;
  result->scores.resize(rows * actions);
  for (std::size_t i = 0; i < rows; ++i) {
    ScoreVectorAngles(
        values.subspan(i * elements, elements),
        static_cast<std::int64_t>(elements / actions), &scratch_,
        absl::MakeSpan(result->scores).subspan(i * actions, actions));
  }
}

// A part of a model may end before its heads: it has no actions either.
absl::Status CheckFits(const PolicyDescription& description) {
  if (description.action.head.empty() && description.action.num_actions == 0) {
    return absl::OkStatus();
  }
  for (const OutputHeadConfig& head : description.heads) {
    if (head.name == description.action.head) return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "action head \"", description.action.head, "\" is not among the heads"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Policy>> CreateTransformerPolicy(
    const PolicyDescription& description,
    std::unique_ptr<const KernelSet> kernels) {
  if (absl::Status status = CheckFits(description); !status.ok()) {
    return status;
  }
  try {
    return std::unique_ptr<Policy>(
        std::make_unique<TransformerPolicy>(description, std::move(kernels)));
  } catch (const std::exception& error) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the weights could not be made resident: ", error.what()));
  }
}

}  // namespace stepd
