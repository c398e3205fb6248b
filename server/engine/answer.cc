// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/answer.h"

#include <cstddef>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/engine/sampling.h"
#include "server/engine/session.h"
#include "server/engine/step_task.h"

namespace stepd {

absl::Status AnswerRows(const PolicySpec& spec, const StepResult& result,
                        std::int64_t first_row, Work* work) {
  if (work->slice_rows == 0) return absl::OkStatus();
  const StepTask& task = work->step();
  const auto num_actions = static_cast<std::size_t>(spec.num_actions);
  const auto num_rows = static_cast<std::size_t>(work->slice_rows);
  const auto first = static_cast<std::size_t>(first_row);
  DrawId draw;
  draw.seed = task.sampling.seed;
  draw.actor_hash = work->session->actor_hash;
  draw.step_index = static_cast<std::uint64_t>(work->session->num_steps()) +
                    work->num_steps_done + work->slice_new_steps - num_rows;
  work->reply.num_answered += work->slice_rows;
  const absl::Span<const float> scores = result.scores;
  for (std::size_t row = first; num_actions > 0 && row < first + num_rows;
       ++row) {
    const absl::StatusOr<SampledAction> sampled = SampleAction(
        scores.subspan(row * num_actions, num_actions), task.sampling, draw);
    if (!sampled.ok()) return sampled.status();
    work->reply.actions.push_back(sampled->action);
    work->reply.log_probs.push_back(sampled->log_prob);
    ++draw.step_index;
  }
  if (task.outputs == 0) return absl::OkStatus();
  work->reply.outputs.resize(spec.outputs.size());
  for (std::size_t i = 0; i < spec.outputs.size(); ++i) {
    if ((task.outputs >> i & 1) == 0) continue;
    const auto size = static_cast<std::size_t>(spec.outputs[i].num_elements());
    const float* begin = result.outputs[i].data() + first * size;
    std::vector<float>& output = work->reply.outputs[i];
    output.insert(output.end(), begin, begin + num_rows * size);
  }
  return absl::OkStatus();
}

}  // namespace stepd
