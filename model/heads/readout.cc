// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/heads/readout.h"

#include <algorithm>
#include <utility>

namespace stepd {
namespace {

// Outputs that every policy has besides its heads; scores if it has actions.
constexpr char kScores[] = "scores";
constexpr char kHidden[] = "hidden";
// Of policies with heads that read inner layers: what they read, and hidden.
constexpr char kHiddenLayers[] = "hidden_layers";

// Whether `output` is among them; -1: there is no such output.
bool Has(OutputMask wanted, int output) {
  return output >= 0 && (wanted & OutputMask{1} << output) != 0;
}

}  // namespace

// ---- Building -----------------------------------------------------------

Readout::Readout(const std::vector<OutputHeadConfig>& heads,
                 const ActionConfig& action, std::int64_t hidden_dim,
                 const kernels::KernelSet& kernels)
    : kernels_(kernels),
      hidden_dim_(hidden_dim),
      num_actions_(action.num_actions),
      score_rule_(action.rule) {
  PlaceHeads(heads);
  DescribeOutputs(heads, action.head);
}

void Readout::PlaceHeads(const std::vector<OutputHeadConfig>& heads) {
  for (const OutputHeadConfig& head : heads) {
    if (head.read_layer.has_value()) read_layers_.push_back(*head.read_layer);
  }
  std::sort(read_layers_.begin(), read_layers_.end());
  read_layers_.erase(std::unique(read_layers_.begin(), read_layers_.end()),
                     read_layers_.end());
  for (const OutputHeadConfig& head : heads) {
    PlacedHead placed{OutputHead(head, kernels_)};
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
void Readout::DescribeOutputs(const std::vector<OutputHeadConfig>& heads,
                              const std::string& action_head) {
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
      heads_[i].output = static_cast<int>(outputs_.size());
      heads_[i].entry = static_cast<int>(i - first);
      if (heads[i].name == action_head) action_head_ = static_cast<int>(i);
    }
    outputs_.push_back(std::move(output));
    first = end;
  }
  if (num_actions_ > 0) {
    scores_output_ = static_cast<int>(outputs_.size());
    outputs_.push_back({kScores, {num_actions_}});
  }
  hidden_output_ = static_cast<int>(outputs_.size());
  outputs_.push_back({kHidden, {hidden_dim_}});
  if (read_layers_.empty()) return;
  hidden_layers_output_ = static_cast<int>(outputs_.size());
  outputs_.push_back(
      {kHiddenLayers,
       {static_cast<std::int64_t>(read_layers_.size()) + 1, hidden_dim_}});
}

// ---- Reading ------------------------------------------------------------

std::int64_t Readout::ScratchSize(std::int64_t rows) const {
  std::int64_t most = 0;
  for (const PlacedHead& placed : heads_) {
    most = std::max(most, placed.head.ScratchSize(rows));
  }
  return most;
}

bool Readout::IsWanted(std::size_t head, OutputMask wanted) const {
  return static_cast<int>(head) == action_head_ ||
         Has(wanted, heads_[head].output);
}

void Readout::Place(std::size_t rows, OutputMask wanted,
                    ReadoutValues* values) const {
  const std::size_t num_heads = heads_.size();
  const std::size_t num_reads = read_layers_.size();
  values->values.resize(num_heads + num_reads + 1);
  values->targets.clear();
  if (rows == 0) return;
  const auto place = [&](std::size_t index, std::int64_t width) {
    values->values[index].resize(rows * static_cast<std::size_t>(width));
    values->targets.push_back(values->values[index].data());
  };
  for (std::size_t i = 0; i < num_heads; ++i) {
    if (IsWanted(i, wanted)) place(i, heads_[i].head.out_dim());
  }
  const bool has_layers = Has(wanted, hidden_layers_output_);
  for (std::size_t i = 0; has_layers && i < num_reads; ++i) {
    place(num_heads + i, hidden_dim_);
  }
  if (has_layers || Has(wanted, hidden_output_)) {
    place(num_heads + num_reads, hidden_dim_);
  }
}

void Readout::Read(const Rows& rows, OutputMask wanted, Scratch* scratch,
                   const ReadoutValues& values) const {
  const std::int64_t count = rows.count * hidden_dim_;
  auto target = values.targets.begin();
  for (std::size_t i = 0; i < heads_.size(); ++i) {
    if (!IsWanted(i, wanted)) continue;
    const PlacedHead& placed = heads_[i];
    const float* from =
        placed.read < 0 ? rows.hidden : rows.layers + placed.read * count;
    placed.head.Forward(kernels_, from, rows.count, scratch, *target++);
  }
  // The layers, if they are wanted, and the hidden rows last.
  const float* layer = rows.layers;
  for (; values.targets.end() - target > 1; layer += count) {
    kernels_.CopyToHost(layer, count, *target++);
  }
  if (target != values.targets.end()) {
    kernels_.CopyToHost(rows.hidden, count, *target);
  }
}

// ---- Answering ----------------------------------------------------------

void Readout::Fill(const ReadoutValues& values, OutputMask wanted,
                   Scratch* scratch, StepResult* result) const {
  result->outputs.resize(outputs_.size());
  for (std::vector<float>& output : result->outputs) output.clear();
  result->scores.clear();
  const auto rows = static_cast<std::size_t>(result->num_rows);
  if (rows == 0) return;
  const auto values_of = [&](std::size_t index, std::int64_t width) {
    return absl::MakeConstSpan(values.values[index])
        .subspan(0, rows * static_cast<std::size_t>(width));
  };
  const std::size_t num_heads = heads_.size();
  for (std::size_t i = 0; i < num_heads; ++i) {
    if (!IsWanted(i, wanted)) continue;
    const PlacedHead& placed = heads_[i];
    const absl::Span<const float> given = values_of(i, placed.head.out_dim());
    if (static_cast<int>(i) == action_head_) {
      FillScores(given, scratch, result);
    }
    if (!Has(wanted, placed.output)) continue;
    CopyEntry(placed.output, placed.entry, given, result);
  }
  const std::size_t num_reads = read_layers_.size();
  if (Has(wanted, hidden_output_)) {
    CopyEntry(hidden_output_, 0, values_of(num_heads + num_reads, hidden_dim_),
              result);
  }
  if (Has(wanted, hidden_layers_output_)) {
    for (std::size_t i = 0; i <= num_reads; ++i) {
      CopyEntry(hidden_layers_output_, static_cast<int>(i),
                values_of(num_heads + i, hidden_dim_), result);
    }
  }
  if (Has(wanted, scores_output_)) {
    result->outputs[static_cast<std::size_t>(scores_output_)] = result->scores;
  }
}

void Readout::CopyEntry(int output, int entry, absl::Span<const float> values,
                        StepResult* result) const {
  const auto index = static_cast<std::size_t>(output);
  const auto stride = static_cast<std::size_t>(outputs_[index].num_elements());
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

void Readout::FillScores(absl::Span<const float> values, Scratch* scratch,
                         StepResult* result) const {
  if (score_rule_ == ScoreRule::kOutput) {
    result->scores.assign(values.begin(), values.end());
    return;
  }
  const auto actions = static_cast<std::size_t>(num_actions_);
  const auto rows = static_cast<std::size_t>(result->num_rows);
  const std::size_t elements = values.size() / rows;
  result->scores.resize(rows * actions);
  for (std::size_t i = 0; i < rows; ++i) {
    ScoreVectorAngles(
        values.subspan(i * elements, elements),
        static_cast<std::int64_t>(elements / actions), scratch,
        absl::MakeSpan(result->scores).subspan(i * actions, actions));
  }
}

}  // namespace stepd
