// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Reads little-endian values off the front of bytes that nobody vouches for:
// every read is checked, and a failed one moves nothing.
//
// Thread safety: none.

#ifndef STEPD_MODEL_CHECKPOINT_BYTE_READER_H_
#define STEPD_MODEL_CHECKPOINT_BYTE_READER_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "absl/strings/string_view.h"

namespace stepd::checkpoint {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
              "checkpoint files are little-endian and are mapped as they are");

class ByteReader {
 public:
  // `bytes` must outlive what is read from it.
  explicit ByteReader(absl::string_view bytes) : bytes_(bytes) {}

  std::size_t position() const { return position_; }
  std::size_t remaining() const { return bytes_.size() - position_; }

  // False if fewer bytes are left.
  template <typename Integer>
  bool Read(Integer* value) {
    static_assert(std::is_integral_v<Integer>);
    if (remaining() < sizeof(Integer)) return false;
    std::memcpy(value, bytes_.data() + position_, sizeof(Integer));
    position_ += sizeof(Integer);
    return true;
  }

  bool ReadBytes(std::size_t count, absl::string_view* bytes) {
    if (remaining() < count) return false;
    *bytes = bytes_.substr(position_, count);
    position_ += count;
    return true;
  }

  // What stands before the next newline; the newline is skipped.
  bool ReadLine(absl::string_view* line) {
    const std::size_t end = bytes_.find('\n', position_);
    if (end == absl::string_view::npos) return false;
    *line = bytes_.substr(position_, end - position_);
    position_ = end + 1;
    return true;
  }

 private:
  const absl::string_view bytes_;
  std::size_t position_ = 0;
};

}  // namespace stepd::checkpoint

#endif  // STEPD_MODEL_CHECKPOINT_BYTE_READER_H_
