// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The work of one runner on a device that computes behind the host's back: a
// CUDA stream and what belongs to it. Free of CUDA, so that tests drive what
// stands on it with a fake.
//
// Thread safety: none; used by one thread at a time.

#ifndef STEPD_MODEL_KERNELS_DEVICE_QUEUE_H_
#define STEPD_MODEL_KERNELS_DEVICE_QUEUE_H_

#include <cstdint>
#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"

namespace stepd::kernels {

class DeviceQueue {
 public:
  // Kernels and copies that were recorded, to be launched as one.
  class Graph {
   public:
    virtual ~Graph() = default;
  };

  virtual ~DeviceQueue() = default;

  // Makes room for batches of `rows` rows and for their block tables of
  // `num_blocks` entries together, so that memory does not move later.
  virtual void Reserve(std::int64_t rows, std::int64_t num_blocks) = 0;

  // What the calling thread asks a kernel set for goes to this queue from now
  // on.
  virtual void Use() = 0;

  // Runs `work` with its kernels and copies recorded instead of launched.
  // nullptr: it waits for the device or uploads on its way, and cannot be
  // recorded; it was broken off there by an exception.
  // REQUIRES: the same work has been launched before, on this queue.
  virtual std::unique_ptr<Graph> Record(absl::FunctionRef<void()> work) = 0;

  // Launches what was recorded. Its copies to the host go to `hosts`, in the
  // order of CopyToHost() while it was recorded.
  virtual void Launch(const Graph& graph, absl::Span<float* const> hosts) = 0;

  // Grows whenever memory of the queue has moved: graphs from before are stale.
  virtual std::int64_t generation() const = 0;
};

}  // namespace stepd::kernels

#endif  // STEPD_MODEL_KERNELS_DEVICE_QUEUE_H_
