// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/session.h"

#include <cassert>

#include "absl/types/span.h"

namespace stepd {

absl::string_view StepLog::operator[](std::int64_t i) const {
  assert(i >= first_step_ && i < num_steps_);
  const std::size_t begin = OffsetOf(i);
  return absl::string_view(bytes_).substr(begin, OffsetOf(i + 1) - begin);
}

std::size_t StepLog::OffsetOf(std::int64_t i) const {
  const auto index = static_cast<std::size_t>(i - first_step_);
  if (fixed_bytes_ >= 0) return index * static_cast<std::size_t>(fixed_bytes_);
  return index == 0 ? 0 : ends_[index - 1] - dropped_bytes_;
}

void StepLog::Append(const EncodedSteps& steps) {
  if (fixed_bytes_ < 0) {
    std::uint64_t end = dropped_bytes_ + bytes_.size();
    for (std::size_t i = 0; i < steps.size(); ++i) {
      end += steps[i].size();
      ends_.push_back(end);
    }
  }
  const absl::string_view bytes = steps.all();
  bytes_.append(bytes.data(), bytes.size());
  num_steps_ += static_cast<std::int64_t>(steps.size());
}

void StepLog::DropBefore(std::int64_t i) {
  assert(i >= first_step_ && i <= num_steps_);
  const std::size_t num_bytes = OffsetOf(i);
  bytes_.erase(0, num_bytes);
  if (fixed_bytes_ < 0) {
    dropped_bytes_ += num_bytes;
    ends_.erase(ends_.begin(), ends_.begin() + (i - first_step_));
  }
  first_step_ = i;
}

void ForgetCached(Session* session) {
  session->num_cached_steps = session->window_start;
  session->num_cached_tokens = 0;
}

void DropBlocks(Session* session, BlockPool* pool) {
  pool->Release(session->blocks);
  session->blocks = {};  // frees its memory too: idle sessions stay small
  ForgetCached(session);
  session->prepared_inputs.reset();
}

void TrimBlocks(Session* session, std::int64_t num_kept, BlockPool* pool) {
  const auto kept = static_cast<std::size_t>(num_kept);
  if (session->blocks.size() <= kept) return;
  pool->Release(absl::MakeConstSpan(session->blocks).subspan(kept));
  session->blocks.resize(kept);
}

}  // namespace stepd
