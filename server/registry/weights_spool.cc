// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/registry/weights_spool.h"

#include <openssl/evp.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "server/common/error.h"

namespace stepd {
namespace {

constexpr std::size_t kDigestBytes = 32;

absl::Status DigestError(absl::string_view field, const std::string& got,
                         const std::string& want) {
  return Error(absl::StatusCode::kInvalidArgument, reason::kWeightsDigest,
               absl::StrCat(field, ": got ", got, ", want ", want),
               {{"field", std::string(field)}, {"got", got}, {"want", want}});
}

absl::Status MemoryError(int error) {
  return Error(absl::StatusCode::kResourceExhausted, reason::kWeightsMemory,
               absl::StrCat("no memory for the file: ", std::strerror(error)));
}

// Errors: kResourceExhausted  WEIGHTS_MEMORY
absl::StatusOr<std::string> Sha256(int fd, std::size_t num_bytes) {
  void* bytes = mmap(nullptr, num_bytes, PROT_READ, MAP_SHARED, fd, 0);
  if (bytes == MAP_FAILED) return MemoryError(errno);
  std::array<unsigned char, kDigestBytes> digest{};
  EVP_Digest(bytes, num_bytes, digest.data(), nullptr, EVP_sha256(), nullptr);
  munmap(bytes, num_bytes);
  return std::string(digest.begin(), digest.end());
}

}  // namespace

absl::StatusOr<std::unique_ptr<WeightsSpool>> WeightsSpool::Create(
    std::int64_t num_bytes, const std::string& sha256) {
  if (sha256.size() != kDigestBytes) {
    return DigestError("header.sha256", absl::StrCat(sha256.size(), " bytes"),
                       "32");
  }
  if (num_bytes <= 0) {
    return DigestError("header.num_bytes", absl::StrCat(num_bytes),
                       "at least 1");
  }
  const int fd = memfd_create("stepd-weights", MFD_CLOEXEC);
  if (fd < 0) return MemoryError(errno);
  return std::unique_ptr<WeightsSpool>(new WeightsSpool(fd, num_bytes, sha256));
}

WeightsSpool::WeightsSpool(int fd, std::int64_t num_bytes, std::string sha256)
    : fd_(fd), num_bytes_(num_bytes), sha256_(std::move(sha256)) {}

WeightsSpool::~WeightsSpool() { close(fd_); }

absl::Status WeightsSpool::Append(absl::string_view bytes) {
  num_written_ += static_cast<std::int64_t>(bytes.size());
  if (num_written_ > num_bytes_) {
    return DigestError("chunk", absl::StrCat("byte ", num_written_),
                       absl::StrCat(num_bytes_, " bytes"));
  }
  while (!bytes.empty()) {
    const ssize_t count = write(fd_, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return MemoryError(errno);
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
  return absl::OkStatus();
}

absl::Status WeightsSpool::Check() const {
  if (num_written_ != num_bytes_) {
    return DigestError("chunk", absl::StrCat(num_written_, " bytes"),
                       absl::StrCat(num_bytes_));
  }
  const absl::StatusOr<std::string> digest =
      Sha256(fd_, static_cast<std::size_t>(num_bytes_));
  if (!digest.ok()) return digest.status();
  if (*digest == sha256_) return absl::OkStatus();
  return DigestError("header.sha256", absl::BytesToHexString(*digest),
                     absl::BytesToHexString(sha256_));
}

}  // namespace stepd
