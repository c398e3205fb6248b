// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/service/status_codec.h"

#include <grpcpp/support/status.h>

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/common/error.h"

namespace stepd {
namespace {

constexpr char kDomain[] = "stepd";

// gRPC and absl number the same codes alike.
absl::StatusCode ToCode(int code) {
  return absl::Status(static_cast<absl::StatusCode>(code), "").code();
}

void EncodeRetry(absl::Duration retry_after, google::rpc::Status* out) {
  google::rpc::RetryInfo info;
  absl::Duration rest = retry_after;
  info.mutable_retry_delay()->set_seconds(
      absl::IDivDuration(rest, absl::Seconds(1), &rest));
  info.mutable_retry_delay()->set_nanos(
      static_cast<int>(absl::ToInt64Nanoseconds(rest)));
  out->add_details()->PackFrom(info);
}

}  // namespace

void EncodeStatus(const absl::Status& status, google::rpc::Status* out) {
  out->set_code(static_cast<int>(status.code()));
  out->set_message(std::string(status.message()));
  const std::string reason = ReasonOf(status);
  if (!reason.empty()) {
    google::rpc::ErrorInfo info;
    info.set_reason(reason);
    info.set_domain(kDomain);
    for (const auto& [key, value] : MetadataOf(status)) {
      (*info.mutable_metadata())[key] = value;
    }
    out->add_details()->PackFrom(info);
  }
  const std::optional<absl::Duration> retry_after = RetryAfterOf(status);
  if (retry_after) EncodeRetry(*retry_after, out);
}

absl::Status DecodeStatus(const google::rpc::Status& status) {
  google::rpc::ErrorInfo error;
  google::rpc::RetryInfo retry;
  bool has_error = false;
  bool has_retry = false;
  for (const auto& detail : status.details()) {
    has_error = has_error || detail.UnpackTo(&error);
    has_retry = has_retry || detail.UnpackTo(&retry);
  }
  const absl::StatusCode code = ToCode(status.code());
  if (code == absl::StatusCode::kOk) return absl::OkStatus();
  if (!has_error) return absl::Status(code, status.message());
  if (has_retry) {
    return RetryableError(code, error.reason(), status.message(),
                          absl::Seconds(retry.retry_delay().seconds()) +
                              absl::Nanoseconds(retry.retry_delay().nanos()));
  }
  ErrorMetadata metadata;
  for (const auto& [key, value] : error.metadata()) {
    metadata.emplace_back(key, value);
  }
  return Error(code, error.reason(), status.message(), metadata);
}

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  google::rpc::Status details;
  EncodeStatus(status, &details);
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()),
                      std::string(status.message()),
                      details.SerializeAsString());
}

absl::Status FromGrpcStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  google::rpc::Status details;
  if (!status.error_details().empty() &&
      details.ParseFromString(status.error_details())) {
    return DecodeStatus(details);
  }
  return absl::Status(ToCode(status.error_code()), status.error_message());
}

}  // namespace stepd
