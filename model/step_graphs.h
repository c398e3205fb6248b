// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Forwards of equal shape as recorded graphs: a batch of decode steps is padded
// to a row bucket, so that few shapes serve all batches and each costs the host
// one launch.
//
// Thread safety: none; one runner owns it.

#ifndef STEPD_MODEL_STEP_GRAPHS_H_
#define STEPD_MODEL_STEP_GRAPHS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <tuple>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "model/kernels/device_queue.h"
#include "model/step.h"

namespace stepd {

// The smallest of 1, 2, 4, ... and `most` that holds `count`.
// REQUIRES: 1 <= count <= most
std::int64_t FindBucket(std::int64_t count, std::int64_t most);
// The largest power of two below `bucket`; 0 below 1.
std::int64_t NextSmallerBucket(std::int64_t bucket);

class StepGraphs {
 public:
  // What two forwards must share for one graph to serve both.
  struct Shape {
    std::int64_t num_slices = 0;  // padding included
    std::int64_t context = 0;     // that is planned for
    OutputMask outputs = 0;
    const void* scratch = nullptr;  // where its rows lie

    friend bool operator<(const Shape& a, const Shape& b) {
      return std::tie(a.num_slices, a.context, a.outputs, a.scratch) <
             std::tie(b.num_slices, b.context, b.outputs, b.scratch);
    }
  };

  // `queue` must outlive it; nullptr: everything is run as it is.
  explicit StepGraphs(kernels::DeviceQueue* queue) : queue_(queue) {}

  // Runs `work`, whose answers go to `hosts` in the order of its copies: as it
  // is the first time that a shape is seen, recorded and launched the second
  // time, launched from then on. Work that cannot be recorded is always run as
  // it is.
  void Run(const Shape& shape, absl::FunctionRef<void()> work,
           absl::Span<float* const> hosts);

  // False: all work is run as it is.
  bool is_recordable() const { return queue_ != nullptr && is_recordable_; }
  std::size_t num_graphs() const;

 private:
  struct Entry {
    bool has_run = false;
    std::unique_ptr<kernels::DeviceQueue::Graph> graph;
    std::int64_t generation = 0;  // of the queue when it was recorded
  };

  kernels::DeviceQueue* queue_;
  bool is_recordable_ = true;
  std::map<Shape, Entry> entries_;
};

}  // namespace stepd

#endif  // STEPD_MODEL_STEP_GRAPHS_H_
