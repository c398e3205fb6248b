// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/session.h"

#include <cassert>

#include "absl/types/span.h"

namespace stepd {

absl::string_view StepLog::operator[](std::int64_t i) const {
  assert(i >= 0 && i < num_steps_);
  const absl::string_view bytes = bytes_;
  if (fixed_bytes_ >= 0) {
    return bytes.substr(static_cast<std::size_t>(i * fixed_bytes_),
                        static_cast<std::size_t>(fixed_bytes_));
  }
  const auto index = static_cast<std::size_t>(i);
  const std::uint64_t begin = index == 0 ? 0 : ends_[index - 1];
  return bytes.substr(begin, ends_[index] - begin);
}

void StepLog::Append(const EncodedSteps& steps) {
  if (fixed_bytes_ < 0) {
    std::uint64_t end = bytes_.size();
    for (std::size_t i = 0; i < steps.size(); ++i) {
      end += steps[i].size();
      ends_.push_back(end);
    }
  }
  const absl::string_view bytes = steps.all();
  bytes_.append(bytes.data(), bytes.size());
  num_steps_ += static_cast<std::int64_t>(steps.size());
}

void DropBlocks(Session* session, BlockPool* pool) {
  pool->Release(session->blocks);
  session->blocks = {};  // frees its memory too: idle sessions stay small
  session->num_cached_steps = session->window_start;
  session->num_cached_tokens = 0;
}

void TrimBlocks(Session* session, std::int64_t num_kept, BlockPool* pool) {
  const auto kept = static_cast<std::size_t>(num_kept);
  if (session->blocks.size() <= kept) return;
  pool->Release(absl::MakeConstSpan(session->blocks).subspan(kept));
  session->blocks.resize(kept);
}

}  // namespace stepd
