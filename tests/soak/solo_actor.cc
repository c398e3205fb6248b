// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/soak/solo_actor.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "server/common/stable_hash.h"
#include "server/engine/answer.h"
#include "server/engine/sampling.h"

namespace stepd {
namespace {

constexpr std::int64_t kMaxTokens = 256;  // of a solo forward, about

}  // namespace

SoloRunners::SoloRunners(const FamilyPolicies* policies,
                         std::int32_t num_blocks)
    : policies_(*policies) {
  options_.num_blocks = num_blocks;
  options_.max_batch_tokens = kMaxTokens;
}

PolicyRunner* SoloRunners::Get(std::uint64_t version) {
  std::unique_ptr<PolicyRunner>& runner =
      runners_[version % FamilyPolicies::kNumWeights];
  if (runner == nullptr) {
    runner = policies_.Get(version)->CreateRunner(options_).value();
    options_.kv_memory = runner->kv_memory();
  }
  return runner.get();
}

SoloActor::SoloActor(std::string actor_id, const ContextLimits& limits,
                     std::vector<std::int32_t> blocks, SoloRunners* runners)
    : actor_id_(std::move(actor_id)),
      actor_hash_(StableHash(actor_id_)),
      limits_(limits),
      blocks_(std::move(blocks)),
      runners_(*runners) {}

std::int64_t SoloActor::num_tokens() const {
  std::int64_t tokens = runners_.policy().spec().num_prefix_tokens;
  for (const SoloSession::Kept& kept : session_.context) {
    tokens += kept.num_tokens;
  }
  return tokens;
}

void SoloActor::End() { Become({}); }

void SoloActor::Become(const SoloSession& session) {
  session_ = session;
  num_cached_ = 0;
  prepared_.reset();
}

absl::StatusOr<StepReply> SoloActor::Take(const StepRequest& request,
                                          const FindKeys& keys) {
  if (is_new()) session_.inputs = request.session_inputs;
  StepReply reply;
  const PolicySpec& spec = runners_.policy().spec();
  if (request.outputs != 0) reply.outputs.resize(NumAnswerOutputs(spec));
  for (std::size_t i = 0; i < request.steps.size(); ++i) {
    See(request, i);
    if (!request.IsAnswered(i)) continue;
    const KeyRecord::Keys* seen = keys(request.steps[i]);
    if (seen == nullptr) return absl::InternalError("it was not computed");
    absl::Status status = UseKeys(*seen);
    StepResult result;
    if (status.ok()) {
      status = Compute(PolicyOutputs(spec, request.outputs), &result);
    }
    if (status.ok()) {
      status = Answer(request, static_cast<std::size_t>(reply.num_answered),
                      result, &reply);
    }
    if (!status.ok()) return status;
    ++reply.num_answered;
    reply.model_version = session_.context.back().version;
    const auto [min, max] = std::minmax_element(seen->begin(), seen->end());
    reply.context_version_min = *min;
    reply.context_version_max = *max;
  }
  reply.step_index = static_cast<std::uint64_t>(session_.num_steps);
  return reply;
}

void SoloActor::Keep(const StepRequest& request, const StepReply& reply) {
  session_.answered.reset();
  if (!request.step_index.has_value()) return;
  session_.answered.emplace();
  session_.answered->content = request.content;
  session_.answered->step_index = *request.step_index;
  session_.answered->reply = reply;
}

// Adds step `i` of the request to the context, or begins another one with it.
void SoloActor::See(const StepRequest& request, std::size_t i) {
  const bool forgets = i == 0 && limits_.forgets(request.boundary);
  const std::int64_t begin =
      forgets ? session_.num_steps
              : limits_.BeginFor(session_.begin, session_.num_steps);
  if (begin != session_.begin) {
    session_.context.erase(session_.context.begin(),
                           session_.context.begin() + (begin - session_.begin));
    session_.begin = begin;
    num_cached_ = 0;
  }
  SoloSession::Kept kept;
  kept.step = request.steps[i];
  kept.num_tokens = request.num_tokens[i];
  session_.context.push_back(std::move(kept));
  ++session_.num_steps;
}

// The context has keys of these versions. Those that are cached and of others
// are made again, with all that follow.
absl::Status SoloActor::UseKeys(const KeyRecord::Keys& keys) {
  if (static_cast<std::int64_t>(keys.size()) != num_tokens()) {
    return absl::InternalError(absl::StrCat("it was answered in a context of ",
                                            keys.size(), " tokens, which has ",
                                            num_tokens()));
  }
  auto first =
      static_cast<std::size_t>(runners_.policy().spec().num_prefix_tokens);
  for (std::size_t i = 0; i < session_.context.size(); ++i) {
    SoloSession::Kept& kept = session_.context[i];
    if (kept.version != keys[first]) num_cached_ = std::min(num_cached_, i);
    kept.version = keys[first];
    first += static_cast<std::size_t>(kept.num_tokens);
  }
  return absl::OkStatus();
}

// What is not cached yet, up to the last step, which is answered.
absl::Status SoloActor::Compute(OutputMask outputs, StepResult* result) {
  const std::deque<SoloSession::Kept>& context = session_.context;
  while (num_cached_ < context.size()) {
    std::size_t end = num_cached_ + 1;
    while (end < context.size() &&
           context[end].version == context[num_cached_].version) {
      ++end;
    }
    const absl::Status status = Forward(end, outputs, result);
    if (!status.ok()) return status;
    num_cached_ = end;
  }
  return absl::OkStatus();
}

absl::Status SoloActor::Forward(std::size_t end, OutputMask outputs,
                                StepResult* result) {
  const std::deque<SoloSession::Kept>& context = session_.context;
  const std::uint64_t version = context[num_cached_].version;
  PolicyRunner* runner = runners_.Get(version);
  if (prepared_ == nullptr || prepared_version_ != version) {
    auto prepared = runner->PrepareInputs(session_.inputs);
    if (!prepared.ok()) return prepared.status();
    prepared_ = *std::move(prepared);
    prepared_version_ = version;
  }
  SessionSlice slice;
  if (num_cached_ > 0) {
    slice.num_cached_tokens = runners_.policy().spec().num_prefix_tokens;
  }
  for (std::size_t i = 0; i < end; ++i) {
    if (i < num_cached_) {
      slice.num_cached_tokens += context[i].num_tokens;
    } else {
      slice.steps.emplace_back(context[i].step);
    }
  }
  slice.blocks = blocks_;
  slice.num_answered = end == context.size() ? 1 : 0;
  slice.session_inputs = session_.inputs;
  slice.prepared_inputs = prepared_.get();
  StepBatch batch;
  batch.slices.push_back(std::move(slice));
  batch.outputs = outputs;
  return runner->Forward(batch, result);
}

absl::Status SoloActor::Answer(const StepRequest& request, std::size_t row,
                               const StepResult& result,
                               StepReply* reply) const {
  const PolicySpec& spec = runners_.policy().spec();
  const auto num_actions = static_cast<std::size_t>(spec.num_actions);
  absl::Span<const std::uint8_t> mask = request.action_mask;
  if (!mask.empty()) mask = mask.subspan(row * num_actions, num_actions);
  const auto distribution =
      ActionDistribution::Create(result.scores, mask, request.sampling);
  if (!distribution.ok()) return distribution.status();
  const std::int64_t action =
      distribution->Draw({request.sampling.seed, actor_hash_,
                          static_cast<std::uint64_t>(session_.num_steps - 1)});
  reply->actions.push_back(action);
  reply->log_probs.push_back(static_cast<float>(distribution->LogProb(action)));
  for (std::size_t i = 0; i < spec.outputs.size(); ++i) {
    if ((request.outputs >> i & 1) == 0) continue;
    reply->outputs[i].insert(reply->outputs[i].end(), result.outputs[i].begin(),
                             result.outputs[i].end());
  }
  const std::size_t entropy = spec.outputs.size();
  if ((request.outputs >> entropy & 1) != 0) {
    reply->outputs[entropy].push_back(
        static_cast<float>(distribution->Entropy()));
  }
  if ((request.outputs >> (entropy + 1) & 1) == 0) return absl::OkStatus();
  for (std::int64_t a = 0; a < spec.num_actions; ++a) {
    reply->outputs[entropy + 1].push_back(
        static_cast<float>(distribution->Prob(a)));
  }
  return absl::OkStatus();
}

}  // namespace stepd
