// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/verify/verify.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <future>
#include <limits>
#include <map>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "model/policy.h"
#include "model/policy_spec.h"

namespace stepd {
namespace {

using ReplyFuture = std::future<absl::StatusOr<StepReply>>;

double Error(float got, float want) {
  const double error = std::abs(double{got} - double{want}) /
                       std::max(1.0, std::abs(double{want}));
  return std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
}

// One replay of all actors.
class Replay {
 public:
  Replay(const RecordedCase& recorded, Engine* engine)
      : recorded_(recorded), engine_(*engine) {}

  // Queues all calls of all actors at once; the sessions keep their order.
  // Replies by actor, then by call.
  absl::StatusOr<std::vector<std::vector<StepReply>>> Run(
      const SamplingParams& sampling, OutputMask outputs) {
    std::vector<std::vector<ReplyFuture>> futures;
    for (const RecordedActor& actor : recorded_.actors) {
      absl::StatusOr<std::vector<ReplyFuture>> calls =
          Submit(actor, sampling, outputs);
      if (!calls.ok()) return calls.status();
      futures.push_back(*std::move(calls));
    }
    std::vector<std::vector<StepReply>> replies;
    for (std::vector<ReplyFuture>& calls : futures) {
      std::vector<StepReply>& of_actor = replies.emplace_back();
      for (ReplyFuture& call : calls) {
        absl::StatusOr<StepReply> reply = call.get();
        if (!reply.ok()) return reply.status();
        of_actor.push_back(*std::move(reply));
      }
    }
    return replies;
  }

 private:
  absl::StatusOr<std::vector<ReplyFuture>> Submit(
      const RecordedActor& actor, const SamplingParams& sampling,
      OutputMask outputs) {
    if (!actor.session_inputs.empty()) {
      const absl::Status status =
          engine_.input_rules().CheckSessionInputs(actor.session_inputs);
      if (!status.ok()) return status;
    }
    std::vector<ReplyFuture> futures;
    for (const EncodedSteps& steps : actor.calls) {
      StepTask task;
      // Every replay opens sessions of its own.
      task.actor_id = absl::StrCat(actor.name, "@", sampling.temperature);
      task.steps = steps;
      if (futures.empty()) task.session_inputs = actor.session_inputs;
      for (std::size_t i = 0; i < steps.size(); ++i) {
        absl::StatusOr<int> count = engine_.input_rules().CountTokens(steps[i]);
        if (!count.ok()) return count.status();
        task.num_tokens.push_back(*count);
      }
      task.sampling = sampling;
      task.outputs = outputs;
      task.answer_all_steps = true;
      std::promise<absl::StatusOr<StepReply>> promise;
      futures.push_back(promise.get_future());
      task.done = [promise = std::move(promise)](
                      absl::StatusOr<StepReply> reply) mutable {
        promise.set_value(std::move(reply));
      };
      if (absl::Status status = engine_.Submit(std::move(task)); !status.ok()) {
        return status;
      }
    }
    return futures;
  }

  const RecordedCase& recorded_;
  Engine& engine_;
};

// Compares the rows of one actor's calls with a recording of all its steps.
void CompareOutput(const std::vector<StepReply>& calls, std::size_t output,
                   const RecordedOutput& want, OutputComparison* comparison) {
  std::size_t next = 0;
  for (const StepReply& call : calls) {
    for (float got : call.outputs[output]) {
      const double error = next < want.values.size()
                               ? Error(got, want.values[next])
                               : std::numeric_limits<double>::infinity();
      ++next;
      comparison->max_error = std::max(comparison->max_error, error);
    }
  }
  if (next != want.values.size()) {
    comparison->max_error = std::numeric_limits<double>::infinity();
  }
  comparison->num_values += static_cast<std::int64_t>(next);
}

void CompareGreedyActions(const std::vector<StepReply>& calls,
                          const std::vector<std::int64_t>& want,
                          VerifyReport* report) {
  std::vector<std::int64_t> got;
  for (const StepReply& call : calls) {
    report->num_steps += call.num_answered;
    got.insert(got.end(), call.actions.begin(), call.actions.end());
  }
  if (want.empty()) return;
  report->num_actions += static_cast<std::int64_t>(got.size());
  for (std::size_t i = 0; i < std::min(got.size(), want.size()); ++i) {
    if (got[i] == want[i]) ++report->num_agreeing_actions;
  }
}

// The probability that the reply states for its action, against the recorded
// distribution.
void CompareLogProbs(const std::vector<StepReply>& calls,
                     const RecordedOutput& want, OutputComparison* comparison) {
  std::size_t row = 0;
  for (const StepReply& call : calls) {
    for (std::size_t i = 0; i < call.actions.size(); ++i, ++row) {
      const std::size_t at = row * static_cast<std::size_t>(want.num_elements) +
                             static_cast<std::size_t>(call.actions[i]);
      const double error =
          call.actions[i] < want.num_elements && at < want.values.size()
              ? Error(std::exp(call.log_probs[i]), want.values[at])
              : std::numeric_limits<double>::infinity();
      comparison->max_error = std::max(comparison->max_error, error);
      ++comparison->num_values;
    }
  }
}

// The policy's outputs that any actor of the case recorded, by name.
absl::StatusOr<std::map<std::string, int>> FindOutputs(
    const RecordedCase& recorded, const PolicySpec& spec) {
  std::map<std::string, int> outputs;
  for (const RecordedActor& actor : recorded.actors) {
    for (const auto& [name, want] : actor.outputs) {
      outputs.emplace(name, spec.FindOutput(name));
    }
  }
  for (const auto& [name, output] : outputs) {
    if (output >= 0) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "the case records output \"", name, "\", which the policy has not"));
  }
  return outputs;
}

absl::Status VerifyOutputs(const RecordedCase& recorded, Engine* engine,
                           VerifyReport* report) {
  const absl::StatusOr<std::map<std::string, int>> outputs =
      FindOutputs(recorded, engine->spec());
  if (!outputs.ok()) return outputs.status();
  OutputMask mask = 0;
  for (const auto& [name, output] : *outputs) mask |= OutputMask{1} << output;
  SamplingParams greedy;
  greedy.num_actions = recorded.num_actions;
  auto replies = Replay(recorded, engine).Run(greedy, mask);
  if (!replies.ok()) return replies.status();
  for (const auto& [name, output] : *outputs) {
    OutputComparison comparison{name};
    for (std::size_t a = 0; a < recorded.actors.size(); ++a) {
      const auto want = recorded.actors[a].outputs.find(name);
      if (want == recorded.actors[a].outputs.end()) continue;
      CompareOutput((*replies)[a], static_cast<std::size_t>(output),
                    want->second, &comparison);
    }
    report->outputs.push_back(std::move(comparison));
  }
  for (std::size_t a = 0; a < recorded.actors.size(); ++a) {
    CompareGreedyActions((*replies)[a], recorded.actors[a].greedy_actions,
                         report);
  }
  return absl::OkStatus();
}

absl::Status VerifyLogProbs(const RecordedCase& recorded, float temperature,
                            Engine* engine, VerifyReport* report) {
  SamplingParams sampling;
  sampling.temperature = temperature;
  sampling.num_actions = recorded.num_actions;
  auto replies = Replay(recorded, engine).Run(sampling, /*outputs=*/0);
  if (!replies.ok()) return replies.status();
  OutputComparison comparison{absl::StrCat("action_probs_t", temperature)};
  for (std::size_t a = 0; a < recorded.actors.size(); ++a) {
    const auto want = recorded.actors[a].action_probs.find(temperature);
    if (want == recorded.actors[a].action_probs.end()) continue;
    CompareLogProbs((*replies)[a], want->second, &comparison);
  }
  report->outputs.push_back(std::move(comparison));
  return absl::OkStatus();
}

}  // namespace

double VerifyReport::max_error() const {
  double worst = 0.0;
  for (const OutputComparison& output : outputs) {
    worst = std::max(worst, output.max_error);
  }
  return worst;
}

absl::StatusOr<VerifyReport> Verify(const RecordedCase& recorded,
                                    Engine* engine) {
  VerifyReport report;
  if (absl::Status status = VerifyOutputs(recorded, engine, &report);
      !status.ok()) {
    return status;
  }
  for (const auto& [temperature, probs] :
       recorded.actors.front().action_probs) {
    if (absl::Status status =
            VerifyLogProbs(recorded, temperature, engine, &report);
        !status.ok()) {
      return status;
    }
  }
  return report;
}

}  // namespace stepd
