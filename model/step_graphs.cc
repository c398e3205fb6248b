// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/step_graphs.h"

#include <algorithm>

namespace stepd {
namespace {

// Shapes beyond these are run as they are: a graph takes memory.
constexpr std::size_t kMostShapes = 512;

}  // namespace

std::int64_t FindBucket(std::int64_t count, std::int64_t most) {
  std::int64_t bucket = 1;
  while (bucket < count) bucket *= 2;
  return std::min(bucket, most);
}

std::int64_t NextSmallerBucket(std::int64_t bucket) {
  std::int64_t next = bucket > 1 ? 1 : 0;
  while (next > 0 && 2 * next < bucket) next *= 2;
  return next;
}

void StepGraphs::Run(const Shape& shape, absl::FunctionRef<void()> work,
                     absl::Span<float* const> hosts) {
  const bool is_known = entries_.count(shape) > 0;
  if (!is_recordable() || (!is_known && entries_.size() >= kMostShapes)) {
    work();
    return;
  }
  Entry& entry = entries_[shape];
  if (entry.graph != nullptr && entry.generation != queue_->generation()) {
    entry = Entry{};
  }
  if (!entry.has_run) {
    entry.has_run = true;
    work();
    return;
  }
  if (entry.graph == nullptr) {
    entry.graph = queue_->Record(work);
    entry.generation = queue_->generation();
    if (entry.graph == nullptr) {
      is_recordable_ = false;
      work();
      return;
    }
  }
  queue_->Launch(*entry.graph, hosts);
}

std::size_t StepGraphs::num_graphs() const {
  return static_cast<std::size_t>(std::count_if(
      entries_.begin(), entries_.end(),
      [](const auto& entry) { return entry.second.graph != nullptr; }));
}

}  // namespace stepd
