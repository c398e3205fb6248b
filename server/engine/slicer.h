// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What is left to compute of a task, and what of it goes into the next batch:
// steps of the session's log that its blocks lack, and new ones. Step indices
// run through the log and on through the task.
//
// Thread safety: none; one executor owns it.

#ifndef STEPD_SERVER_ENGINE_SLICER_H_
#define STEPD_SERVER_ENGINE_SLICER_H_

#include <cstdint>

#include "absl/strings/string_view.h"
#include "model/policy.h"
#include "model/step.h"
#include "server/engine/context.h"
#include "server/engine/work.h"

namespace stepd {

class Slicer {
 public:
  // `spec`, which is that of `policy`, must outlive it.
  Slicer(const PolicySpec& spec, const Policy* policy,
         const ContextLimits& limits)
      : policy_(policy), spec_(spec), limits_(limits) {}

  // From now on `policy`, of the same spec, counts tokens.
  void UsePolicy(const Policy* policy) { policy_ = policy; }

  // Tokens of the smallest slice that takes `work` further.
  std::int64_t SmallestSlice(const Work& work) const;
  // Tokens that the next batches compute for `work`, up to its end or to the
  // next rebuild of its context.
  std::int64_t TokensLeft(const Work& work) const;
  // Steps of the context that `work` ends with.
  std::int64_t ContextSteps(const Work& work) const;
  // Cached tokens that `work` does not write over.
  std::int64_t KeptTokens(const Work& work) const;
  // Tokens of the longest context that `work` goes through.
  std::int64_t MostTokens(const Work& work) const;
  // The next slice is the first one of a context.
  bool BeginsContext(const Work& work) const;
  // One step, and everything before it is in the blocks.
  bool IsSingle(const Work& work) const;

  // Fills `slice` with the next steps in at most `max_tokens` tokens, but at
  // least with the smallest slice, and up to the next rebuild of the context;
  // and in `work` what is said of its slice and what of its context was cached
  // before. The slice borrows from the session.
  void Fill(Work* work, std::int64_t max_tokens, SessionSlice* slice) const;

 private:
  void FillWithNext(Work* work, std::int64_t max_tokens,
                    SessionSlice* slice) const;
  void FillWithAll(Work* work, SessionSlice* slice) const;

  absl::string_view StepAt(const Work& work, std::int64_t index) const;
  std::int64_t TokensAt(const Work& work, std::int64_t index) const;
  // ContextLimits::BeginFor(), and the task's boundary.
  std::int64_t BeginFor(const Work& work, std::int64_t begin,
                        std::int64_t index) const;
  ContextSpan NextContext(const Work& work) const;
  std::int64_t NextAnswered(const Work& work) const;
  std::int64_t MissingPrefixTokens(const ContextSpan& cached) const {
    return cached.num_tokens == 0 ? spec_.num_prefix_tokens : 0;
  }

  const Policy* policy_;
  const PolicySpec& spec_;
  const ContextLimits limits_;
};

}  // namespace stepd

#endif  // STEPD_SERVER_ENGINE_SLICER_H_
