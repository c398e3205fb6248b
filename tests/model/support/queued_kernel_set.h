// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The CPU's kernels behind a device queue, as a GPU has one: work is recorded
// with the addresses and sizes that it had, layouts are uploaded to places of
// their own, answers reach the host when it waits. What a graph replays is
// thereby what it would be on a GPU, and a test sees it to the bit.

#ifndef STEPD_TESTS_MODEL_SUPPORT_QUEUED_KERNEL_SET_H_
#define STEPD_TESTS_MODEL_SUPPORT_QUEUED_KERNEL_SET_H_

#include <memory>

#include "model/kernels/kernel_set.h"

namespace stepd {

// What the queues of a set have done. Outlives them.
struct QueueCounts {
  int launched_graphs = 0;
  int recorded_graphs = 0;
  int refused_graphs = 0;
  int kernels = 0;  // launched one by one
};

// `embeds_at_once`: the set has EmbedRows().
std::unique_ptr<kernels::KernelSet> CreateQueuedKernelSet(
    QueueCounts* counts, bool embeds_at_once = false);

}  // namespace stepd

#endif  // STEPD_TESTS_MODEL_SUPPORT_QUEUED_KERNEL_SET_H_
