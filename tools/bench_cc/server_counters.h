// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What a server has done so far: the counters of its /metrics page, and the
// processor time that the system charged to it. A benchmark reads them before
// and after.
//
// Thread safety: plain values; the functions are reentrant.

#ifndef STEPD_TOOLS_BENCH_CC_SERVER_COUNTERS_H_
#define STEPD_TOOLS_BENCH_CC_SERVER_COUNTERS_H_

#include <sys/types.h>

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace stepd::bench {

// Samples of a /metrics page by name with labels, as it writes them:
// `stepd_batches_fired_total{reason="idle"}`.
using Samples = std::map<std::string, double>;

// Lines that are no sample are passed over.
Samples ParseMetrics(absl::string_view text);

// Errors: kUnavailable  nobody answers at HOST:PORT, or not with a page
absl::StatusOr<Samples> ReadMetrics(const std::string& address);

// What the samples of `after` have grown by; a sample that `before` lacks
// counts from 0.
Samples Growth(const Samples& before, const Samples& after);

// The sample, or 0.
double Get(const Samples& samples, const std::string& name);

// Processor seconds, user and system.
struct CpuTime {
  double process = 0.0;
  // Of those: the threads that run batches.
  double executors = 0.0;
  // What all cores of the machine have worked, whoever for.
  double machine = 0.0;
};

// Errors: kUnavailable  there is no such process
absl::StatusOr<CpuTime> ReadCpuTime(pid_t pid);

// Memory that a process has of its own.
// Errors: kUnavailable  there is no such process
absl::StatusOr<double> ReadResidentBytes(pid_t pid);

}  // namespace stepd::bench

#endif  // STEPD_TOOLS_BENCH_CC_SERVER_COUNTERS_H_
