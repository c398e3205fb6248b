// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/slicer.h"

#include <algorithm>
#include <cstddef>
#include <variant>

namespace stepd {
namespace {

std::int64_t NumSteps(const Work& work) {
  return static_cast<std::int64_t>(std::get<StepTask>(work.task).steps.size());
}

// One past the last step of `work`.
std::int64_t EndOf(const Work& work) {
  return work.session->num_steps() + NumSteps(work);
}

ContextSpan CachedBy(const Work& work) {
  return work.is_started ? work.cached : work.session->cached();
}

}  // namespace

// ---- Steps ------------------------------------------------------------------

absl::string_view Slicer::StepAt(const Work& work, std::int64_t index) const {
  const Session& session = *work.session;
  if (index < session.num_steps()) return session.log[index];
  const auto& task = std::get<StepTask>(work.task);
  return task.steps[static_cast<std::size_t>(index - session.num_steps())];
}

// Every step was counted before, when its task was validated.
std::int64_t Slicer::TokensAt(const Work& work, std::int64_t index) const {
  if (spec_.min_tokens_per_step == spec_.max_tokens_per_step) {
    return spec_.min_tokens_per_step;
  }
  return policy_->CountTokens(StepAt(work, index)).value();
}

std::int64_t Slicer::BeginFor(const Work& work, std::int64_t begin,
                              std::int64_t index) const {
  const bool is_first = index == work.session->num_steps();
  if (is_first && limits_.forgets(std::get<StepTask>(work.task).boundary)) {
    return index;
  }
  return limits_.BeginFor(begin, index);
}

// The step that a recomputed slice ends with.
std::int64_t Slicer::NextAnswered(const Work& work) const {
  return std::get<StepTask>(work.task).answer_all_steps ? work.first_new_step()
                                                        : EndOf(work) - 1;
}

// The context of the next slice's steps, as far as the blocks hold it.
ContextSpan Slicer::NextContext(const Work& work) const {
  const ContextSpan cached = CachedBy(work);
  std::int64_t begin = cached.begin;
  if (spec_.recomputes) {
    for (std::int64_t i = work.first_new_step(); i <= NextAnswered(work); ++i) {
      begin = BeginFor(work, begin, i);
    }
    return {begin, begin, 0};
  }
  begin = BeginFor(work, begin, work.first_new_step());
  if (begin == cached.begin) return cached;
  return {begin, begin, 0};
}

// ---- Sizes ------------------------------------------------------------------

std::int64_t Slicer::SmallestSlice(const Work& work) const {
  const ContextSpan context = NextContext(work);
  const std::int64_t end =
      spec_.recomputes ? NextAnswered(work) + 1 : context.end + 1;
  std::int64_t tokens = MissingPrefixTokens(context);
  for (std::int64_t i = context.end; i < end; ++i) tokens += TokensAt(work, i);
  return tokens;
}

std::int64_t Slicer::TokensLeft(const Work& work) const {
  if (spec_.recomputes) return SmallestSlice(work);
  const ContextSpan context = NextContext(work);
  if (context.begin == work.session->window_start()) {
    return work.session->num_tokens + work.num_new_tokens - context.num_tokens;
  }
  const std::int64_t end =
      std::min(context.begin + limits_.max_steps, EndOf(work));
  std::int64_t tokens = MissingPrefixTokens(context);
  for (std::int64_t i = context.end; i < end; ++i) tokens += TokensAt(work, i);
  return tokens;
}

std::int64_t Slicer::ContextSteps(const Work& work) const {
  std::int64_t begin = work.session->window_start();
  for (std::int64_t i = work.session->num_steps(); i < EndOf(work); ++i) {
    begin = BeginFor(work, begin, i);
  }
  return EndOf(work) - begin;
}

std::int64_t Slicer::KeptTokens(const Work& work) const {
  const Session& session = *work.session;
  const std::int64_t begin = EndOf(work) - ContextSteps(work);
  return begin == session.window_start() ? session.num_cached_tokens : 0;
}

std::int64_t Slicer::MostTokens(const Work& work) const {
  const Session& session = *work.session;
  const bool forgets = limits_.forgets(std::get<StepTask>(work.task).boundary);
  if (!limits_.rebuilds() && !forgets) {
    return session.num_tokens + work.num_new_tokens;
  }
  std::int64_t most = 0;
  std::int64_t begin = session.window_start();
  std::int64_t tokens = session.num_tokens;
  for (std::int64_t i = session.num_steps(); i < EndOf(work); ++i) {
    const std::int64_t next = BeginFor(work, begin, i);
    if (next != begin) {
      tokens = spec_.num_prefix_tokens;
      for (std::int64_t j = next; j < i; ++j) tokens += TokensAt(work, j);
      begin = next;
    }
    tokens += TokensAt(work, i);
    most = std::max(most, tokens);
  }
  return most;
}

bool Slicer::BeginsContext(const Work& work) const {
  return work.first_new_step() == 0 ||
         NextContext(work).begin != CachedBy(work).begin;
}

bool Slicer::IsSingle(const Work& work) const {
  const ContextSpan context = NextContext(work);
  return NumSteps(work) == 1 && context.end == work.first_new_step() &&
         MissingPrefixTokens(context) == 0;
}

// ---- Slices -----------------------------------------------------------------

void Slicer::Fill(Work* work, std::int64_t max_tokens,
                  SessionSlice* slice) const {
  const Session& session = *work->session;
  work->cached = NextContext(*work);
  work->ClearSlice();
  slice->steps.clear();
  slice->num_cached_tokens = work->cached.num_tokens;
  slice->blocks = session.blocks;
  slice->session_inputs = InputsOf(session);
  slice->prepared_inputs = session.prepared_inputs.get();
  if (spec_.recomputes) {
    FillWithAll(work, slice);
  } else {
    FillWithNext(work, max_tokens, slice);
  }
  slice->num_answered = work->slice_rows;
  // Steps of the log that it caches stay cached should the task fail after all.
  const StepTask& task = work->step();
  slice->is_final =
      task.is_ephemeral && work->slice_old_steps == 0 &&
      work->num_steps_done + work->slice_new_steps == task.steps.size();
}

// First what the context lacks in the blocks, then what is new. The prefix
// counts as old.
void Slicer::FillWithNext(Work* work, std::int64_t max_tokens,
                          SessionSlice* slice) const {
  const ContextSpan context = work->cached;
  const std::int64_t first_new = work->first_new_step();
  const std::int64_t end = EndOf(*work);
  work->slice_old_tokens = MissingPrefixTokens(context);
  std::int64_t i = context.end;
  for (; i < end; ++i) {
    if (BeginFor(*work, context.begin, i) != context.begin) break;
    const std::int64_t tokens = TokensAt(*work, i);
    if (!slice->steps.empty() && work->slice_tokens() + tokens > max_tokens) {
      break;
    }
    slice->steps.push_back(StepAt(*work, i));
    if (i < first_new) {
      work->slice_old_tokens += tokens;
      ++work->slice_old_steps;
    } else {
      work->slice_new_tokens += tokens;
      ++work->slice_new_steps;
    }
  }
  const StepTask& task = work->step();
  if (task.answer_all_steps) {
    work->slice_rows = static_cast<int>(work->slice_new_steps);
  } else {
    work->slice_rows = i == end && !task.answers_nothing ? 1 : 0;
  }
}

// For a policy that recomputes: the whole context of the next answered step.
void Slicer::FillWithAll(Work* work, SessionSlice* slice) const {
  const std::int64_t answered = NextAnswered(*work);
  work->slice_new_tokens = SmallestSlice(*work);
  for (std::int64_t i = work->cached.begin; i <= answered; ++i) {
    slice->steps.push_back(StepAt(*work, i));
  }
  work->slice_new_steps =
      static_cast<std::size_t>(answered - work->first_new_step()) + 1;
  work->slice_rows = 1;
}

}  // namespace stepd
