// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/common/error.h"

#include <cstdint>
#include <cstring>

#include "absl/strings/cord.h"
#include "absl/types/optional.h"

namespace stepd {
namespace {

// Keys of the payloads that a status carries inside this process.
constexpr absl::string_view kReasonPayload = "stepd.reason";
constexpr absl::string_view kMetadataPayload = "stepd.metadata";
constexpr absl::string_view kRetryPayload = "stepd.retry_after";

void AppendSized(absl::string_view text, std::string* out) {
  const auto size = static_cast<std::uint32_t>(text.size());
  out->append(reinterpret_cast<const char*>(&size), sizeof(size));
  out->append(text.data(), text.size());
}

// REQUIRES: `bytes` was written by AppendSized().
std::string TakeSized(absl::string_view* bytes) {
  std::uint32_t size = 0;
  std::memcpy(&size, bytes->data(), sizeof(size));
  std::string text(bytes->substr(sizeof(size), size));
  bytes->remove_prefix(sizeof(size) + size);
  return text;
}

}  // namespace

absl::Status Error(absl::StatusCode code, absl::string_view reason,
                   absl::string_view message, const ErrorMetadata& metadata) {
  absl::Status status(code, message);
  status.SetPayload(kReasonPayload, absl::Cord(reason));
  if (!metadata.empty()) {
    std::string bytes;
    for (const auto& [key, value] : metadata) {
      AppendSized(key, &bytes);
      AppendSized(value, &bytes);
    }
    status.SetPayload(kMetadataPayload, absl::Cord(bytes));
  }
  return status;
}

absl::Status RetryableError(absl::StatusCode code, absl::string_view reason,
                            absl::string_view message,
                            absl::Duration retry_after) {
  absl::Status status = Error(code, reason, message);
  const std::int64_t nanoseconds = absl::ToInt64Nanoseconds(retry_after);
  status.SetPayload(
      kRetryPayload,
      absl::Cord(absl::string_view(reinterpret_cast<const char*>(&nanoseconds),
                                   sizeof(nanoseconds))));
  return status;
}

absl::Status Draining() {
  return RetryableError(absl::StatusCode::kUnavailable, reason::kDraining,
                        "the server is draining", absl::Seconds(1));
}

std::string ReasonOf(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(kReasonPayload);
  return payload ? std::string(*payload) : std::string();
}

ErrorMetadata MetadataOf(const absl::Status& status) {
  ErrorMetadata metadata;
  const absl::optional<absl::Cord> payload =
      status.GetPayload(kMetadataPayload);
  if (!payload) return metadata;
  const std::string bytes(*payload);
  absl::string_view rest = bytes;
  while (!rest.empty()) {
    std::string key = TakeSized(&rest);
    std::string value = TakeSized(&rest);
    metadata.emplace_back(std::move(key), std::move(value));
  }
  return metadata;
}

std::optional<absl::Duration> RetryAfterOf(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(kRetryPayload);
  if (!payload) return std::nullopt;
  const std::string bytes(*payload);
  std::int64_t nanoseconds = 0;
  std::memcpy(&nanoseconds, bytes.data(), sizeof(nanoseconds));
  return absl::Nanoseconds(nanoseconds);
}

}  // namespace stepd
