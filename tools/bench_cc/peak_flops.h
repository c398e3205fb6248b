// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What one core could do at most: multiply-adds on registers alone.
//
// Thread safety: reentrant.

#ifndef STEPD_TOOLS_BENCH_CC_PEAK_FLOPS_H_
#define STEPD_TOOLS_BENCH_CC_PEAK_FLOPS_H_

#include "model/policy_spec.h"

namespace stepd::bench {

// float32 operations per CPU second of this thread, with the widest vectors of
// this processor; a multiply-add counts as two. Takes about 20 ms; 0 where
// there is no loop for the processor.
double MeasurePeakFlops();

// What a step costs at least: the multiply-adds of the layers' matrices;
// attention, embedder and readouts are not counted.
double LinearFlopsPerStep(const PolicySpec& spec);

}  // namespace stepd::bench

#endif  // STEPD_TOOLS_BENCH_CC_PEAK_FLOPS_H_
