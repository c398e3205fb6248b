// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// How fast one core reads memory at most.
//
// Thread safety: reentrant.

#ifndef STEPD_TOOLS_BENCH_CC_STREAM_BANDWIDTH_H_
#define STEPD_TOOLS_BENCH_CC_STREAM_BANDWIDTH_H_

#include <cstddef>

namespace stepd::bench {

// Bytes per CPU second of this thread, reading `bytes` from first to last; the
// best of some repetitions.
double MeasureStreamBandwidth(std::size_t bytes);

}  // namespace stepd::bench

#endif  // STEPD_TOOLS_BENCH_CC_STREAM_BANDWIDTH_H_
