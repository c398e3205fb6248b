// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Thread safety: reentrant.

#ifndef STEPD_TOOLS_BENCH_CC_CPU_CLOCK_H_
#define STEPD_TOOLS_BENCH_CC_CPU_CLOCK_H_

#include <ctime>

namespace stepd::bench {

// What the system has charged to the calling thread.
inline double ThreadCpuSeconds() {
  timespec time = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) +
         static_cast<double>(time.tv_nsec) * 1e-9;
}

}  // namespace stepd::bench

#endif  // STEPD_TOOLS_BENCH_CC_CPU_CLOCK_H_
