// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/answer.h"

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/engine/sampling.h"
#include "server/engine/session.h"
#include "server/engine/step_task.h"

namespace stepd {
namespace {

// Of the outputs that follow the policy's own.
constexpr std::size_t kEntropy = 0;
constexpr std::size_t kProbs = 1;
constexpr std::size_t kQ = 2;
constexpr char kQName[] = "q";

bool Has(OutputMask outputs, std::size_t i) { return (outputs >> i & 1) != 0; }

bool HasQ(const PolicySpec& spec) {
  return spec.num_actions > 0 && spec.q_output >= 0 &&
         spec.FindOutput(kQName) < 0;
}

// Appends the rows [first_row, first_row + num_rows) of one of the policy's
// outputs to `to`.
void AppendRows(const OutputSpec& spec, absl::Span<const float> values,
                std::size_t first_row, std::size_t num_rows,
                std::vector<float>* to) {
  const auto size = static_cast<std::size_t>(spec.num_elements());
  const absl::Span<const float> rows =
      values.subspan(first_row * size, num_rows * size);
  to->insert(to->end(), rows.begin(), rows.end());
}

// The distribution of answered row `row` of the whole task.
absl::StatusOr<ActionDistribution> DistributionOf(
    const StepTask& task, std::size_t row, absl::Span<const float> scores) {
  absl::Span<const std::uint8_t> mask = task.action_mask;
  if (!mask.empty()) mask = mask.subspan(row * scores.size(), scores.size());
  const bool varies =
      task.evaluation != nullptr && !task.evaluation->sampling.empty();
  return ActionDistribution::Create(
      scores, mask, varies ? task.evaluation->sampling[row] : task.sampling);
}

// `outputs` as StepReply has them.
void FillSampledOutputs(const PolicySpec& spec,
                        const ActionDistribution& distribution,
                        OutputMask wanted,
                        std::vector<std::vector<float>>* outputs) {
  const std::size_t entropy = spec.outputs.size() + kEntropy;
  const std::size_t probs = spec.outputs.size() + kProbs;
  if (Has(wanted, entropy)) {
    (*outputs)[entropy].push_back(static_cast<float>(distribution.Entropy()));
  }
  if (!Has(wanted, probs)) return;
  for (std::int64_t action = 0; action < spec.num_actions; ++action) {
    (*outputs)[probs].push_back(static_cast<float>(distribution.Prob(action)));
  }
}

absl::Status ActOnRows(const PolicySpec& spec, absl::Span<const float> scores,
                       Work* work) {
  const StepTask& task = work->step();
  const auto num_actions = static_cast<std::size_t>(spec.num_actions);
  const auto num_rows = static_cast<std::size_t>(work->slice_rows);
  const auto num_answered = static_cast<std::size_t>(work->reply.num_answered);
  const std::uint64_t first_step =
      static_cast<std::uint64_t>(work->session->num_steps()) +
      work->num_steps_done + work->slice_new_steps - num_rows;
  for (std::size_t i = 0; i < num_rows; ++i) {
    const std::size_t row = num_answered + i;
    const absl::StatusOr<ActionDistribution> distribution =
        DistributionOf(task, row, scores.subspan(i * num_actions, num_actions));
    if (!distribution.ok()) return distribution.status();
    FillSampledOutputs(spec, *distribution, task.outputs, &work->reply.outputs);
    std::int64_t action = 0;
    if (task.evaluation == nullptr) {
      action = distribution->Draw(
          {task.sampling.seed, work->session->actor_hash(), first_step + i});
    } else if (task.evaluation->actions.empty()) {
      continue;
    } else {
      action = task.evaluation->actions[row];
    }
    work->reply.actions.push_back(action);
    work->reply.log_probs.push_back(
        static_cast<float>(distribution->LogProb(action)));
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<OutputSpec> AnswerOutputs(const PolicySpec& spec) {
  std::vector<OutputSpec> outputs = spec.outputs;
  if (spec.num_actions == 0) return outputs;
  outputs.push_back({"entropy", {}});
  outputs.push_back({"probs", {spec.num_actions}});
  if (HasQ(spec)) {
    outputs.push_back(
        {kQName, spec.outputs[static_cast<std::size_t>(spec.q_output)].shape});
  }
  return outputs;
}

std::size_t NumAnswerOutputs(const PolicySpec& spec) {
  if (spec.num_actions == 0) return spec.outputs.size();
  return spec.outputs.size() + (HasQ(spec) ? 3 : 2);
}

OutputMask PolicyOutputs(const PolicySpec& spec, OutputMask outputs) {
  OutputMask own = outputs & ((OutputMask{1} << spec.outputs.size()) - 1);
  if (HasQ(spec) && Has(outputs, spec.outputs.size() + kQ)) {
    own |= OutputMask{1} << spec.q_output;
  }
  return own;
}

absl::Status AnswerRows(const PolicySpec& spec, const StepResult& result,
                        std::int64_t first_row, Work* work) {
  const StepTask& task = work->step();
  if (work->slice_rows == 0 || task.answers_nothing) return absl::OkStatus();
  std::vector<std::vector<float>>& outputs = work->reply.outputs;
  if (task.outputs != 0) outputs.resize(NumAnswerOutputs(spec));
  const auto num_rows = static_cast<std::size_t>(work->slice_rows);
  const auto first = static_cast<std::size_t>(first_row);
  if (spec.num_actions > 0) {
    const auto num_actions = static_cast<std::size_t>(spec.num_actions);
    const absl::Status status =
        ActOnRows(spec,
                  absl::MakeConstSpan(result.scores)
                      .subspan(first * num_actions, num_rows * num_actions),
                  work);
    if (!status.ok()) return status;
  }
  work->reply.num_answered += work->slice_rows;
  for (std::size_t i = 0; i < spec.outputs.size(); ++i) {
    if (!Has(task.outputs, i)) continue;
    AppendRows(spec.outputs[i], result.outputs[i], first, num_rows,
               &outputs[i]);
  }
  const std::size_t q = spec.outputs.size() + kQ;
  if (HasQ(spec) && Has(task.outputs, q)) {
    const auto source = static_cast<std::size_t>(spec.q_output);
    AppendRows(spec.outputs[source], result.outputs[source], first, num_rows,
               &outputs[q]);
  }
  return absl::OkStatus();
}

}  // namespace stepd
