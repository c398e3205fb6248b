// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The three ways in which the actors of a lane call the server.
//
// Thread safety: none; the lane's thread.

#ifndef STEPD_TOOLS_BENCH_CC_LOAD_H_
#define STEPD_TOOLS_BENCH_CC_LOAD_H_

#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "proto/stepd/v1/policy_service.grpc.pb.h"
#include "tools/bench_cc/lane.h"

namespace stepd::bench {

using Stub = v1::PolicyService::Stub;

// Step: a call per actor and step; the actor waits for the answer, and for that
// of the Reset after an episode.
// The lane, the stub and the actors of all of these must outlive the load.
std::unique_ptr<Load> MakeUnaryLoad(Lane* lane, Stub* stub,
                                    absl::Span<SimulatedActor> actors);

// The same in an open loop: each actor's steps are due at random times, on
// average `steps_per_second` of them in all. A step's latency counts from when
// it was due, also if the actor still waited for the answer to the last one.
std::unique_ptr<Load> MakeOpenLoad(Lane* lane, Stub* stub,
                                   absl::Span<SimulatedActor> actors,
                                   double steps_per_second);

// StepStream: one stream, on which every actor has one step; a Reset and the
// step after it are sent together. Requests that are due at the same time share
// messages of at most `most_together`.
std::unique_ptr<Load> MakeStreamLoad(Lane* lane, Stub* stub,
                                     absl::Span<SimulatedActor> actors,
                                     std::size_t most_together);

// StepBatch: all of the actors in each call. Resets are calls of their own,
// sent just before and not waited for.
std::unique_ptr<Load> MakeBatchLoad(Lane* lane, Stub* stub,
                                    absl::Span<SimulatedActor> actors);

// Several loads of one lane as one.
std::unique_ptr<Load> MakeCombinedLoad(
    std::vector<std::unique_ptr<Load>> loads);

}  // namespace stepd::bench

#endif  // STEPD_TOOLS_BENCH_CC_LOAD_H_
