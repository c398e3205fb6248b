// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The encoded steps of a session, in pages that forks share: a copy of a log
// costs as much as its pages are many, and a page is copied when one of its
// owners appends to it.
//
// Thread safety: none; a log and its copies belong to one executor.

#ifndef STEPD_SERVER_ENGINE_STEP_LOG_H_
#define STEPD_SERVER_ENGINE_STEP_LOG_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "server/engine/encoded_steps.h"

namespace stepd {

// Grows at the end and shrinks at the front. Steps keep their index when those
// before them go.
class StepLog {
 public:
  // `fixed_bytes` as StepLayout::fixed_bytes(): steps of one size need no
  // offsets. The first step appended will have index `first_step`.
  explicit StepLog(std::int64_t fixed_bytes, std::int64_t first_step = 0)
      : fixed_bytes_(fixed_bytes),
        first_step_(first_step),
        num_steps_(first_step) {}

  // Ever appended.
  std::int64_t num_steps() const { return num_steps_; }
  std::int64_t first_step() const { return first_step_; }
  // Of the steps that are there.
  std::size_t num_bytes() const;
  // REQUIRES: first_step() <= i < num_steps(). Valid until the log changes.
  absl::string_view operator[](std::int64_t i) const;

  // REQUIRES: every step has `fixed_bytes` bytes unless that is -1.
  void Append(const EncodedSteps& steps);
  // Forgets the steps before step `i` <= num_steps().
  void DropBefore(std::int64_t i);

 private:
  struct Page {
    std::int64_t first_step = 0;
    std::int64_t num_steps = 0;
    std::string bytes;
    std::vector<std::uint32_t> ends;  // of its steps; none for a fixed size
  };

  const Page& PageOf(std::int64_t i) const;
  std::size_t OffsetIn(const Page& page, std::int64_t i) const;
  // The last page, with room for a step, and this log's alone.
  Page* WritablePage();

  std::int64_t fixed_bytes_;
  std::int64_t first_step_;
  std::int64_t num_steps_;
  // In order, without gaps; the first one may begin before first_step_.
  std::vector<std::shared_ptr<Page>> pages_;
};

}  // namespace stepd

#endif  // STEPD_SERVER_ENGINE_STEP_LOG_H_
