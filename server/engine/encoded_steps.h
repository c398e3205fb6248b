// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Thread safety: plain values; const access from any thread.

#ifndef STEPD_SERVER_ENGINE_ENCODED_STEPS_H_
#define STEPD_SERVER_ENGINE_ENCODED_STEPS_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace stepd {

// Encoded steps (model/step.h), one after another.
class EncodedSteps {
 public:
  std::size_t size() const { return ends_.size(); }
  bool empty() const { return ends_.empty(); }
  absl::string_view operator[](std::size_t i) const {
    const std::size_t begin = i == 0 ? 0 : ends_[i - 1];
    return absl::string_view(bytes_).substr(begin, ends_[i] - begin);
  }
  std::size_t num_bytes() const { return bytes_.size(); }
  // All of them, without gaps.
  absl::string_view all() const { return bytes_; }

  void Append(absl::string_view step) {
    bytes_.append(step.data(), step.size());
    ends_.push_back(bytes_.size());
  }
  // For encoding in place: write to bytes(), then call EndStep().
  std::string* bytes() { return &bytes_; }
  void EndStep() { ends_.push_back(bytes_.size()); }

 private:
  std::string bytes_;
  std::vector<std::size_t> ends_;
};

}  // namespace stepd

#endif  // STEPD_SERVER_ENGINE_ENCODED_STEPS_H_
