// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Thread safety: reentrant.

#ifndef STEPD_TOOLS_BENCH_CC_CPU_CLOCK_H_
#define STEPD_TOOLS_BENCH_CC_CPU_CLOCK_H_

#include <ctime>

namespace stepd::bench {

inline double SecondsOf(clockid_t clock) {
  timespec time = {};
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) +
         static_cast<double>(time.tv_nsec) * 1e-9;
}

// What the system has charged to the calling thread.
inline double ThreadCpuSeconds() { return SecondsOf(CLOCK_THREAD_CPUTIME_ID); }

// What it has charged to all threads of this process.
inline double ProcessCpuSeconds() {
  return SecondsOf(CLOCK_PROCESS_CPUTIME_ID);
}

}  // namespace stepd::bench

#endif  // STEPD_TOOLS_BENCH_CC_CPU_CLOCK_H_
