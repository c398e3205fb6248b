// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/step_log.h"

#include <algorithm>
#include <cassert>

namespace stepd {
namespace {

// What a fork may have to copy: a page ends with the first of these.
constexpr std::int64_t kMaxSteps = 64;
constexpr std::size_t kMaxBytes = 16384;

}  // namespace

std::size_t StepLog::num_bytes() const {
  if (pages_.empty()) return 0;
  std::size_t bytes = 0;
  for (const std::shared_ptr<Page>& page : pages_) bytes += page->bytes.size();
  return bytes - OffsetIn(*pages_.front(), first_step_);
}

absl::string_view StepLog::operator[](std::int64_t i) const {
  assert(i >= first_step_ && i < num_steps_);
  const Page& page = PageOf(i);
  const std::size_t begin = OffsetIn(page, i);
  return absl::string_view(page.bytes)
      .substr(begin, OffsetIn(page, i + 1) - begin);
}

const StepLog::Page& StepLog::PageOf(std::int64_t i) const {
  const auto after = std::upper_bound(
      pages_.begin(), pages_.end(), i,
      [](std::int64_t step, const std::shared_ptr<Page>& page) {
        return step < page->first_step;
      });
  return **(after - 1);
}

// Where step `i`, or the one after the last, begins.
std::size_t StepLog::OffsetIn(const Page& page, std::int64_t i) const {
  const auto index = static_cast<std::size_t>(i - page.first_step);
  if (fixed_bytes_ >= 0) return index * static_cast<std::size_t>(fixed_bytes_);
  return index == 0 ? 0 : page.ends[index - 1];
}

void StepLog::Append(const EncodedSteps& steps) {
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const absl::string_view step = steps[i];
    Page* page = WritablePage();
    page->bytes.append(step.data(), step.size());
    if (fixed_bytes_ < 0) {
      page->ends.push_back(static_cast<std::uint32_t>(page->bytes.size()));
    }
    ++page->num_steps;
    ++num_steps_;
  }
}

StepLog::Page* StepLog::WritablePage() {
  if (pages_.empty() || pages_.back()->num_steps == kMaxSteps ||
      pages_.back()->bytes.size() >= kMaxBytes) {
    pages_.push_back(std::make_shared<Page>());
    pages_.back()->first_step = num_steps_;
  } else if (pages_.back().use_count() > 1) {
    pages_.back() = std::make_shared<Page>(*pages_.back());
  }
  return pages_.back().get();
}

void StepLog::DropBefore(std::int64_t i) {
  assert(i >= first_step_ && i <= num_steps_);
  first_step_ = i;
  const auto kept = std::find_if(
      pages_.begin(), pages_.end(), [i](const std::shared_ptr<Page>& page) {
        return page->first_step + page->num_steps > i;
      });
  pages_.erase(pages_.begin(), kept);
}

}  // namespace stepd
