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
#include "model/heads/readout.h"
#include "model/kernels/cpu_kernels.h"
#include "model/kv_cache/kv_cache.h"
#include "model/kv_cache/source_cache.h"
#include "model/layers/scratch.h"
#include "model/prepared_inputs_map.h"
#include "model/step_graphs.h"

namespace stepd {
namespace {

using kernels::KernelSet;

constexpr int kTokensPerBlock = kernels::kCpuTokensPerBlock;

// Contexts up to which graphs are recorded before the first batch, in tokens.
constexpr std::int64_t kShortestContext = 128;
constexpr std::int64_t kLongestWarmContext = 4096;

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

  // Whether a step of any session is the same work on the device but for
  // numbers that lie there: no counts, no addresses of its own.
  bool HasUniformSteps() const {
    const std::vector<LayerSpec>& layers = decoder_.layers();
    return embedder_.min_tokens_per_step() == embedder_.max_tokens_per_step() &&
           embedder_.num_banks() == 1 && !decoder_.reads_source() &&
           decoder_.condition_dim() == 0 &&
           std::all_of(
               layers.begin(), layers.end(),
               [](const LayerSpec& layer) { return layer.num_experts == 0; });
  }

  std::unique_ptr<const KernelSet> kernels_;
  StepEmbedder embedder_;
  std::optional<SessionEmbedder> prefix_;
  std::optional<SessionEmbedder> source_;
  std::optional<SessionEmbedder> condition_;
  Decoder decoder_;
  BatchPlanOptions plan_options_;
  Readout readout_;
  PolicySpec spec_;
};

// The KV cache of one executor, and what it was made for.
class TransformerKvMemory : public KvMemory {
 public:
  TransformerKvMemory(std::vector<KvCacheSpec> slots, std::int64_t num_tokens,
                      const KernelSet& kernels, KvCache cache)
      : slots_(std::move(slots)),
        num_tokens_(num_tokens),
        device_(kernels.device()),
        cache_(std::move(cache)),
        queue_(kernels.CreateQueue()) {}

  // Its copies share the memory.
  const KvCache& cache() const { return cache_; }
  // What its runners compute on, one after another; nullptr: the host.
  kernels::DeviceQueue* queue() const { return queue_.get(); }
  bool Fits(const std::vector<KvCacheSpec>& slots, std::int64_t num_tokens,
            at::Device device) const {
    return slots == slots_ && num_tokens == num_tokens_ && device == device_;
  }

 private:
  const std::vector<KvCacheSpec> slots_;
  const std::int64_t num_tokens_;
  const at::Device device_;
  const KvCache cache_;
  const std::unique_ptr<kernels::DeviceQueue> queue_;
};

class TransformerRunner : public PolicyRunner {
 public:
  TransformerRunner(const TransformerPolicy& policy,
                    std::shared_ptr<TransformerKvMemory> memory)
      : policy_(policy),
        memory_(std::move(memory)),
        state_{memory_->cache(), policy.decoder_.MakeRopeCaches()},
        scratch_(policy.kernels_->device()),
        plan_(policy.embedder_, policy.plan_options_),
        graphs_(memory_->queue()) {
    UseQueue();
  }

  // Reserves memory for batches of up to so many tokens and records the graphs
  // of their decode steps.
  void Prepare(const RunnerOptions& options);
  void Reserve(std::int64_t num_tokens, std::int64_t num_rows);
  absl::Status Forward(const StepBatch& batch, StepResult* result) override;
  void CopyBlock(std::int32_t from, std::int32_t to) override {
    UseQueue();
    state_.cache.CopyTokens(std::int64_t{from} * policy_.spec_.tokens_per_block,
                            std::int64_t{to} * policy_.spec_.tokens_per_block,
                            policy_.spec_.tokens_per_block);
  }
  absl::StatusOr<std::shared_ptr<const PreparedInputs>> PrepareInputs(
      absl::string_view session_inputs) override;
  std::shared_ptr<KvMemory> kv_memory() const override { return memory_; }

 private:
  void UseQueue() const {
    if (memory_->queue() != nullptr) memory_->queue()->Use();
  }
  // Whether graphs serve the batch.
  bool IsDecodeStep(const StepBatch& batch) const;
  void ForwardOrThrow(const StepBatch& batch, StepResult* result);
  // The forward over plan_; what is read is in values_ then.
  void Compute(const StepBatch& batch, bool is_uniform);
  absl::StatusOr<std::unique_ptr<PreparedInputs>> MakePreparedInputs(
      absl::string_view session_inputs) const;
  void EmbedPrefixes(const StepBatch& batch, float* x) const;
  void FindPreparedInputs(const StepBatch& batch);
  // The rows that are read, computed and copied to the host.
  void ReadRows(const float* x, const float* layers, OutputMask wanted);

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
  ReadoutValues values_;
  StepGraphs graphs_;
  std::int64_t most_graph_slices_ = 0;  // 0: no batch is served by graphs
};

// What is derived of a session's inputs once.
struct TransformerInputs : PreparedInputs {
  std::optional<SourceCache> source;
  at::Tensor modulations;
};

// ---- Policy ----------------------------------------------------------------

TransformerPolicy::TransformerPolicy(const PolicyDescription& description,
                                     std::unique_ptr<const KernelSet> kernels)
    : kernels_(std::move(kernels)),
      embedder_(description.embedder, description.fields, *kernels_),
      decoder_(description.decoder, *kernels_, kTokensPerBlock),
      readout_(description.heads, description.action, decoder_.hidden_dim(),
               *kernels_) {
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
  spec_.outputs = readout_.outputs();
  spec_.q_output = spec_.FindOutput(description.q_head);
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
    absl::StatusOr<KvCache> cache =
        KvCache::Create(slots, num_tokens,
                        at::TensorOptions(kernels_->kv_type()).device(device));
    if (!cache.ok()) return cache.status();
    memory = std::make_shared<TransformerKvMemory>(slots, num_tokens, *kernels_,
                                                   *std::move(cache));
  } else if (memory == nullptr || !memory->Fits(slots, num_tokens, device)) {
    return absl::InvalidArgumentError(
        "the KV cache in use does not fit the policy: its layers cache other "
        "keys and values");
  }
  auto runner = std::make_unique<TransformerRunner>(*this, std::move(memory));
  try {
    runner->Prepare(options);
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
  const auto num_reads =
      static_cast<std::int64_t>(policy_.readout_.read_layers().size());
  scratch_.Reserve(Scratch::Rounded(num_tokens * width) +
                   Scratch::Rounded(num_rows * width) +
                   Scratch::Rounded(num_reads * num_rows * width) +
                   std::max({policy_.embedder_.ScratchSize(),
                             policy_.decoder_.ScratchSize(num_tokens),
                             policy_.readout_.ScratchSize(num_rows)}));
}

void TransformerRunner::Prepare(const RunnerOptions& options) {
  const at::NoGradGuard no_grad;
  Reserve(options.max_batch_tokens, options.max_batch_tokens);
  if (memory_->queue() == nullptr) return;
  // Forks share blocks, so that there are more entries than blocks.
  memory_->queue()->Reserve(options.max_batch_tokens,
                            2 * std::int64_t{options.num_blocks});
  if (!policy_.HasUniformSteps()) return;
  const int tokens_per_step = policy_.spec_.max_tokens_per_step;
  most_graph_slices_ = options.max_batch_tokens / tokens_per_step;
  const std::int64_t longest = std::min(
      std::int64_t{options.num_blocks} * kTokensPerBlock, kLongestWarmContext);
  // Batches of padding alone: nobody's blocks are touched. The largest comes
  // first, so that memory grows once.
  const StepBatch nobody;
  for (std::int64_t bucket = most_graph_slices_; bucket > 0;
       bucket = NextSmallerBucket(bucket)) {
    for (std::int64_t context = kShortestContext;
         context < 2 * longest || context == kShortestContext; context *= 2) {
      for (int run = 0; run < 2; ++run) {  // as it is, then recorded
        plan_.Assign(nobody);
        plan_.Pad(bucket, tokens_per_step, context);
        Compute(nobody, /*is_uniform=*/true);
      }
    }
  }
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
  UseQueue();
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
  ForwardScope(const KernelSet& kernels, const kernels::BatchLayout& layout)
      : kernels_(kernels) {
    kernels_.BeginForward(layout);
  }
  ~ForwardScope() { kernels_.EndForward(); }
  ForwardScope(const ForwardScope&) = delete;
  ForwardScope& operator=(const ForwardScope&) = delete;

 private:
  const KernelSet& kernels_;
};

}  // namespace

bool TransformerRunner::IsDecodeStep(const StepBatch& batch) const {
  const auto num_slices = static_cast<std::int64_t>(batch.slices.size());
  return graphs_.is_recordable() && num_slices <= most_graph_slices_ &&
         std::all_of(batch.slices.begin(), batch.slices.end(),
                     [&](const SessionSlice& slice) {
                       return slice.steps.size() == 1 &&
                              slice.num_answered == 1 && !slice.is_final &&
                              (slice.num_cached_tokens > 0 ||
                               policy_.spec_.num_prefix_tokens == 0);
                     });
}

void TransformerRunner::ForwardOrThrow(const StepBatch& batch,
                                       StepResult* result) {
  const at::NoGradGuard no_grad;
  UseQueue();
  plan_.Assign(batch);
  result->num_rows =
      static_cast<std::int64_t>(plan_.layout().answered_rows.size());
  const bool is_uniform = IsDecodeStep(batch);
  if (is_uniform) {
    plan_.Pad(FindBucket(static_cast<std::int64_t>(batch.slices.size()),
                         most_graph_slices_),
              policy_.spec_.max_tokens_per_step);
  }
  Compute(batch, is_uniform);
  policy_.readout_.Fill(values_, batch.outputs, &scratch_, result);
}

// embed -> layout -> decode -> gather each answered step's last token -> heads
void TransformerRunner::Compute(const StepBatch& batch, bool is_uniform) {
  const kernels::BatchLayout& layout = plan_.layout();
  const std::int64_t width = policy_.decoder_.hidden_dim();
  const auto num_rows = static_cast<std::int64_t>(layout.answered_rows.size());
  Reserve(layout.num_tokens(), num_rows);
  policy_.readout_.Place(layout.answered_rows.size(), batch.outputs, &values_);
  const ForwardScope forward(*policy_.kernels_, layout);
  const Scratch::Scope scope(&scratch_);
  float* x = scratch_.Take(layout.num_tokens() * width);
  float* read = scratch_.Take(
      static_cast<std::int64_t>(policy_.readout_.read_layers().size()) *
      num_rows * width);
  policy_.embedder_.Embed(plan_.steps(), &scratch_, &embed_column_, x);
  EmbedPrefixes(batch, x);
  FindPreparedInputs(batch);
  const auto work = [&] {
    const Scratch::Scope of_work(&scratch_);
    policy_.decoder_.Forward(
        {layout,
         {layout.answered_rows, policy_.readout_.read_layers(), read},
         sources_,
         modulations_},
        &state_, &scratch_, x);
    ReadRows(x, read, batch.outputs);
  };
  if (is_uniform) {
    std::int64_t context = std::max(kShortestContext, layout.context_capacity);
    for (const std::int32_t len : layout.kv_lens) {
      while (context < len) context *= 2;
    }
    graphs_.Run({static_cast<std::int64_t>(layout.kv_lens.size()), context,
                 batch.outputs, x},
                work, values_.targets);
  } else {
    work();
  }
  policy_.kernels_->Synchronize();
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

void TransformerRunner::ReadRows(const float* x, const float* layers,
                                 OutputMask wanted) {
  const std::vector<std::int32_t>& answered = plan_.layout().answered_rows;
  if (answered.empty()) return;
  const std::int64_t width = policy_.decoder_.hidden_dim();
  Readout::Rows rows;
  rows.count = static_cast<std::int64_t>(answered.size());
  rows.layers = layers;
  float* hidden = scratch_.Take(rows.count * width);
  policy_.kernels_->GatherRows(x, width, answered, hidden);
  policy_.decoder_.FinishRows(hidden, rows.count);
  rows.hidden = hidden;
  policy_.readout_.Read(rows, wanted, &scratch_, values_);
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
