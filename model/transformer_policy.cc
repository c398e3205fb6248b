// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/transformer_policy.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/grad_mode.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "model/decoder/decoder.h"
#include "model/embedders/step_embedder.h"
#include "model/heads/output_head.h"
#include "model/kernels/cpu_kernels.h"
#include "model/kv_cache/kv_cache.h"
#include "model/layers/scratch.h"

namespace stepd {
namespace {

using kernels::BatchLayout;
using kernels::KernelSet;

constexpr int kTokensPerBlock = kernels::kCpuTokensPerBlock;

// Outputs that every policy has besides its heads.
constexpr char kScores[] = "scores";
constexpr char kHidden[] = "hidden";

class TransformerPolicy : public Policy {
 public:
  TransformerPolicy(const PolicyDescription& description,
                    std::unique_ptr<const KernelSet> kernels);

  const PolicySpec& spec() const override { return spec_; }
  absl::StatusOr<int> CountTokens(absl::string_view step) const override;
  absl::StatusOr<std::unique_ptr<PolicyRunner>> CreateRunner(
      const RunnerOptions& options) const override;

 private:
  friend class TransformerRunner;

  void DescribeOutputs(const PolicyDescription& description);

  std::unique_ptr<const KernelSet> kernels_;
  StepEmbedder embedder_;
  Decoder decoder_;
  std::vector<OutputHead> heads_;  // heads_[i] fills spec_.outputs[i]
  std::vector<int> read_layers_;   // that heads read, ascending
  std::vector<int> head_reads_;    // by head: index into them; -1: the output
  int action_head_ = 0;
  ScoreRule score_rule_;
  int scores_output_ = 0;
  int hidden_output_ = 0;
  PolicySpec spec_;
};

class TransformerRunner : public PolicyRunner {
 public:
  TransformerRunner(const TransformerPolicy& policy, KvCache cache)
      : policy_(policy),
        state_{std::move(cache), policy.decoder_.MakeRopeCaches()},
        scratch_(policy.kernels_->device()) {}

  void Reserve(std::int64_t num_tokens, std::int64_t num_rows);
  absl::Status Forward(const StepBatch& batch, StepResult* result) override;

 private:
  void ForwardOrThrow(const StepBatch& batch, StepResult* result);
  void LayOut(const StepBatch& batch);
  void LayOutSlice(const SessionSlice& slice, std::size_t first_step);
  void ReadRows(const float* x, const float* read, OutputMask wanted,
                StepResult* result);
  void FillScores(OutputMask wanted, StepResult* result) const;

  const TransformerPolicy& policy_;
  DecoderState state_;
  Scratch scratch_;
  // Of the batch at hand; members so that their memory is kept.
  BatchLayout layout_;
  std::vector<absl::string_view> steps_;
  EmbedPlan plan_;
  std::vector<std::int32_t> answered_rows_;  // last tokens of answered steps
};

OutputMask Bit(int output) { return OutputMask{1} << output; }

// ---- Policy ----------------------------------------------------------------

TransformerPolicy::TransformerPolicy(const PolicyDescription& description,
                                     std::unique_ptr<const KernelSet> kernels)
    : kernels_(std::move(kernels)),
      embedder_(description.embedder, description.fields, *kernels_),
      decoder_(description.decoder, *kernels_, kTokensPerBlock),
      score_rule_(description.action.rule) {
  for (const OutputHeadConfig& head : description.heads) {
    heads_.emplace_back(head, *kernels_);
    if (head.read_layer.has_value()) read_layers_.push_back(*head.read_layer);
  }
  std::sort(read_layers_.begin(), read_layers_.end());
  read_layers_.erase(std::unique(read_layers_.begin(), read_layers_.end()),
                     read_layers_.end());
  for (const OutputHeadConfig& head : description.heads) {
    const auto at = std::lower_bound(read_layers_.begin(), read_layers_.end(),
                                     head.read_layer.value_or(-1));
    head_reads_.push_back(head.read_layer.has_value()
                              ? static_cast<int>(at - read_layers_.begin())
                              : -1);
  }
  spec_.summary = description.summary;
  spec_.fields = description.fields;
  spec_.num_actions = description.action.num_actions;
  spec_.action_head = description.action.head;
  spec_.min_tokens_per_step = embedder_.min_tokens_per_step();
  spec_.max_tokens_per_step = embedder_.max_tokens_per_step();
  spec_.max_tokens = description.max_tokens;
  spec_.num_parameters = description.num_parameters;
  spec_.weight_bytes =
      spec_.num_parameters * static_cast<std::int64_t>(sizeof(float));
  spec_.device = kernels_->device().str();
  spec_.dtype = "float32";
  spec_.tokens_per_block = kTokensPerBlock;
  spec_.kv_bytes_per_token = decoder_.kv_bytes_per_token();
  DescribeOutputs(description);
}

void TransformerPolicy::DescribeOutputs(const PolicyDescription& description) {
  for (const OutputHeadConfig& head : description.heads) {
    spec_.outputs.push_back({head.name, head.shape});
  }
  action_head_ = spec_.FindOutput(spec_.action_head);
  scores_output_ = static_cast<int>(spec_.outputs.size());
  spec_.outputs.push_back({kScores, {spec_.num_actions}});
  hidden_output_ = static_cast<int>(spec_.outputs.size());
  spec_.outputs.push_back({kHidden, {decoder_.hidden_dim()}});
}

absl::StatusOr<int> TransformerPolicy::CountTokens(
    absl::string_view step) const {
  return embedder_.CountTokens(step);
}

absl::StatusOr<std::unique_ptr<PolicyRunner>> TransformerPolicy::CreateRunner(
    const RunnerOptions& options) const {
  absl::StatusOr<KvCache> cache = KvCache::Create(
      decoder_.kv_slots(), std::int64_t{options.num_blocks} * kTokensPerBlock,
      kernels_->device());
  if (!cache.ok()) return cache.status();
  auto runner = std::make_unique<TransformerRunner>(*this, *std::move(cache));
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
  for (const OutputHead& head : policy_.heads_) {
    heads = std::max(heads, head.ScratchSize(num_rows));
  }
  const auto num_reads = static_cast<std::int64_t>(policy_.read_layers_.size());
  scratch_.Reserve(Scratch::Rounded(num_tokens * width) +
                   Scratch::Rounded(num_rows * width) +
                   Scratch::Rounded(num_reads * num_rows * width) +
                   std::max(policy_.decoder_.ScratchSize(num_tokens), heads));
}

// The one place where LibTorch's exceptions become a status.
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

// embed -> layout -> decode -> gather each answered step's last token -> heads
void TransformerRunner::ForwardOrThrow(const StepBatch& batch,
                                       StepResult* result) {
  const at::NoGradGuard no_grad;
  LayOut(batch);
  const std::int64_t num_tokens = layout_.num_tokens();
  const auto num_rows = static_cast<std::int64_t>(answered_rows_.size());
  Reserve(num_tokens, num_rows);
  const Scratch::Scope scope(&scratch_);
  float* x = scratch_.Take(num_tokens * policy_.decoder_.hidden_dim());
  float* read =
      scratch_.Take(static_cast<std::int64_t>(policy_.read_layers_.size()) *
                    num_rows * policy_.decoder_.hidden_dim());
  policy_.embedder_.Embed(plan_, x);
  policy_.decoder_.Forward(layout_,
                           {answered_rows_, policy_.read_layers_, read},
                           &state_, &scratch_, x);
  result->num_rows = num_rows;
  result->outputs.resize(policy_.spec_.outputs.size());
  ReadRows(x, read, batch.outputs, result);
}

void TransformerRunner::LayOut(const StepBatch& batch) {
  layout_.Clear();
  steps_.clear();
  answered_rows_.clear();
  for (const SessionSlice& slice : batch.slices) {
    steps_.insert(steps_.end(), slice.steps.begin(), slice.steps.end());
  }
  policy_.embedder_.Plan(steps_, &plan_);
  layout_.query_indptr.push_back(0);
  layout_.block_indptr.push_back(0);
  std::size_t step = 0;
  for (const SessionSlice& slice : batch.slices) {
    LayOutSlice(slice, step);
    step += slice.steps.size();
  }
}

// `first_step` is the slice's first step in the plan.
void TransformerRunner::LayOutSlice(const SessionSlice& slice,
                                    std::size_t first_step) {
  // A policy without attention keeps nothing and is given no blocks.
  const bool is_cached = !policy_.decoder_.kv_slots().empty();
  const std::size_t num_steps = slice.steps.size();
  std::int64_t position = slice.num_cached_tokens;
  for (std::size_t i = 0; i < num_steps; ++i) {
    const int num_tokens = plan_.num_tokens[first_step + i];
    for (int t = 0; t < num_tokens; ++t, ++position) {
      layout_.positions.push_back(static_cast<std::int32_t>(position));
      if (!is_cached) continue;
      layout_.token_blocks.push_back(
          slice.blocks[static_cast<std::size_t>(position / kTokensPerBlock)]);
      layout_.token_offsets.push_back(
          static_cast<std::int32_t>(position % kTokensPerBlock));
    }
    if (num_steps - i <= static_cast<std::size_t>(slice.num_answered)) {
      answered_rows_.push_back(static_cast<std::int32_t>(layout_.num_tokens()) -
                               1);
    }
  }
  layout_.query_indptr.push_back(
      static_cast<std::int32_t>(layout_.num_tokens()));
  layout_.block_indices.insert(layout_.block_indices.end(),
                               slice.blocks.begin(), slice.blocks.end());
  layout_.block_indptr.push_back(
      static_cast<std::int32_t>(layout_.block_indices.size()));
  layout_.kv_lens.push_back(static_cast<std::int32_t>(position));
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
  kernels.GatherRows(x, width, answered_rows_, hidden);
  policy_.decoder_.FinishRows(hidden, rows);
  const OutputMask heads = wanted | Bit(policy_.action_head_);
  for (std::size_t i = 0; i < policy_.heads_.size(); ++i) {
    const int output = static_cast<int>(i);
    if ((heads & Bit(output)) == 0) continue;
    const int source = policy_.head_reads_[i];
    policy_.heads_[i].Forward(
        kernels, source < 0 ? hidden : read + source * rows * width, rows,
        &scratch_, resize(output));
  }
  if ((wanted & Bit(policy_.hidden_output_)) != 0) {
    kernels.CopyToHost(hidden, rows * width, resize(policy_.hidden_output_));
  }
  FillScores(wanted, result);
}

void TransformerRunner::FillScores(OutputMask wanted,
                                   StepResult* result) const {
  const auto action = static_cast<std::size_t>(policy_.action_head_);
  const std::vector<float>& output = result->outputs[action];
  if (policy_.score_rule_ == ScoreRule::kOutput) {
    result->scores = output;
  } else {
    const auto actions = static_cast<std::size_t>(policy_.spec_.num_actions);
    const auto rows = static_cast<std::size_t>(result->num_rows);
    const std::size_t elements = output.size() / rows;
    result->scores.resize(rows * actions);
    for (std::size_t i = 0; i < rows; ++i) {
      ScoreVectorAngles(
          absl::MakeSpan(output).subspan(i * elements, elements),
          static_cast<std::int64_t>(elements / actions),
          absl::MakeSpan(result->scores).subspan(i * actions, actions));
    }
  }
  if ((wanted & Bit(policy_.scores_output_)) != 0) {
    result->outputs[static_cast<std::size_t>(policy_.scores_output_)] =
        result->scores;
  }
  if ((wanted & Bit(policy_.action_head_)) == 0) {
    result->outputs[action].clear();
  }
}

absl::Status CheckFits(const PolicyDescription& description) {
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
