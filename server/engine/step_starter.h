// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Gives steps what they need before they are computed: a version of the
// weights, a place among the sessions, blocks for all of their tokens, the
// session's inputs.
//
// Thread safety: none; one executor owns it.

#ifndef STEPD_SERVER_ENGINE_STEP_STARTER_H_
#define STEPD_SERVER_ENGINE_STEP_STARTER_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/policy_spec.h"
#include "server/common/clock.h"
#include "server/engine/admission.h"
#include "server/engine/failure_log.h"
#include "server/engine/running_versions.h"
#include "server/engine/session_store.h"
#include "server/engine/slicer.h"
#include "server/engine/work.h"

namespace stepd {

class StepStarter {
 public:
  // All must outlive it.
  struct Parts {
    const PolicySpec* spec = nullptr;
    const Admission* admission = nullptr;
    const Slicer* slicer = nullptr;
    RunningVersions* versions = nullptr;
    SessionStore* store = nullptr;
    FailureLog* failures = nullptr;
  };
  explicit StepStarter(const Parts& parts)
      : spec_(*parts.spec),
        admission_(*parts.admission),
        slicer_(*parts.slicer),
        versions_(*parts.versions),
        store_(*parts.store),
        failures_(*parts.failures) {}

  // The version that the next slice of `work` runs under; nullptr: there is
  // none yet that is new enough.
  // Errors: as RunningVersions::Choose()
  absl::StatusOr<RunningVersion*> ChooseVersion(const Work& work) const;

  // What is cached of the session is of another version, and its KV policy says
  // to compute it again: drops it. `work` is a rebuild then.
  bool DropOutdated(RunningVersion* version, const Work& work);

  // Whether the session can have the steps of `work`, and a place; an
  // evaluation needs no place.
  // Errors: as Admission::Check(), SessionStore::Open()
  absl::Status Admit(const Work& work);
  // Blocks for all tokens of `work`. False: there are too few free ones.
  bool ReserveBlocks(const Work& work);
  // From now on `work` needs nothing that others hold.
  // REQUIRES: it is admitted and has its blocks.
  // Errors: kInternal  INTERNAL: its session's inputs cannot be prepared
  absl::Status Start(RunningVersion* version, MonotonicTime now, Work* work);

  // The next slices of a started work run under `version`.
  // Errors: as Start()
  absl::Status GoOnUnder(RunningVersion* version, Work* work);

 private:
  bool IsPinned(const Session& session) const;
  absl::Status PrepareInputs(const Work& work);

  const PolicySpec& spec_;
  const Admission& admission_;
  const Slicer& slicer_;
  RunningVersions& versions_;
  SessionStore& store_;
  FailureLog& failures_;
};

}  // namespace stepd

#endif  // STEPD_SERVER_ENGINE_STEP_STARTER_H_
