// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What one executor tells of the steps that its batches finish.
//
// Thread safety: none; one executor owns it.

#ifndef STEPD_SERVER_ENGINE_EXECUTOR_TRAJECTORIES_H_
#define STEPD_SERVER_ENGINE_EXECUTOR_TRAJECTORIES_H_

#include <vector>

#include "server/engine/finished_step.h"
#include "server/engine/work.h"

namespace stepd {

class ExecutorTrajectories {
 public:
  // nullptr: nobody is told. The sink must outlive it.
  explicit ExecutorTrajectories(FinishedStepSink* sink) : sink_(sink) {}

  // The steps of `work`, which is computed, in the journal, and about to
  // become a part of its session.
  void Add(const Work& work);

  // What was added is so now: tells it.
  void Tell();

 private:
  FinishedStepSink* const sink_;
  std::vector<FinishedStep> steps_;  // of the current batch
};

}  // namespace stepd

#endif  // STEPD_SERVER_ENGINE_EXECUTOR_TRAJECTORIES_H_
