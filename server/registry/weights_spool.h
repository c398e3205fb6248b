// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// A weights file that arrives in pieces. It is kept in memory, as a file
// without a name, so that it can be mapped where it lies; the daemon writes to
// no disk.
//
// Thread safety: none.

#ifndef STEPD_SERVER_REGISTRY_WEIGHTS_SPOOL_H_
#define STEPD_SERVER_REGISTRY_WEIGHTS_SPOOL_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace stepd {

class WeightsSpool {
 public:
  // For a file of so many bytes with this SHA-256 (32 bytes).
  // Errors: kInvalidArgument    WEIGHTS_DIGEST: no such digest or size
  //         kResourceExhausted  WEIGHTS_MEMORY
  static absl::StatusOr<std::unique_ptr<WeightsSpool>> Create(
      std::int64_t num_bytes, const std::string& sha256);

  ~WeightsSpool();
  WeightsSpool(const WeightsSpool&) = delete;
  WeightsSpool& operator=(const WeightsSpool&) = delete;

  // Adds the next bytes.
  // Errors: kInvalidArgument    WEIGHTS_DIGEST: more bytes than announced
  //         kResourceExhausted  WEIGHTS_MEMORY
  absl::Status Append(absl::string_view bytes);

  // Whether the file is whole and as announced. Reads all of it.
  // Errors: kInvalidArgument    WEIGHTS_DIGEST
  //         kResourceExhausted  WEIGHTS_MEMORY
  absl::Status Check() const;

  // Open as long as the spool lives.
  int fd() const { return fd_; }

 private:
  WeightsSpool(int fd, std::int64_t num_bytes, std::string sha256);

  const int fd_;
  const std::int64_t num_bytes_;
  const std::string sha256_;
  std::int64_t num_written_ = 0;
};

}  // namespace stepd

#endif  // STEPD_SERVER_REGISTRY_WEIGHTS_SPOOL_H_
