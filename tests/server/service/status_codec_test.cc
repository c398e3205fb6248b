// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/service/status_codec.h"

#include <grpcpp/support/status.h>
#include <gtest/gtest.h>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/common/error.h"

namespace stepd {
namespace {

absl::Status FieldStatus() {
  return Error(absl::StatusCode::kInvalidArgument, reason::kFieldShape,
               "input \"x\": got [2], want [N, 2]",
               {{"field", "x"}, {"got", "[2]"}, {"want", "[N, 2]"}});
}

TEST(StatusCodec, PutsTheReasonIntoErrorInfo) {
  const grpc::Status status = ToGrpcStatus(FieldStatus());

  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), "input \"x\": got [2], want [N, 2]");
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(status.error_details()));
  EXPECT_EQ(details.code(), 3);
  ASSERT_EQ(details.details_size(), 1);
  google::rpc::ErrorInfo info;
  ASSERT_TRUE(details.details(0).UnpackTo(&info));
  EXPECT_EQ(info.domain(), "stepd");
  EXPECT_EQ(info.reason(), "FIELD_SHAPE");
  EXPECT_EQ(info.metadata().at("field"), "x");
  EXPECT_EQ(info.metadata().at("want"), "[N, 2]");
}

TEST(StatusCodec, PutsTheTimeToComeBackIntoRetryInfo) {
  const grpc::Status status = ToGrpcStatus(
      RetryableError(absl::StatusCode::kResourceExhausted, reason::kOverloaded,
                     "full", absl::Milliseconds(1250)));

  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(status.error_details()));
  ASSERT_EQ(details.details_size(), 2);
  google::rpc::RetryInfo info;
  ASSERT_TRUE(details.details(1).UnpackTo(&info));
  EXPECT_EQ(info.retry_delay().seconds(), 1);
  EXPECT_EQ(info.retry_delay().nanos(), 250000000);
}

TEST(StatusCodec, RoundTrips) {
  const absl::Status overloaded =
      RetryableError(absl::StatusCode::kResourceExhausted, reason::kOverloaded,
                     "full", absl::Milliseconds(1250));

  const absl::Status field = FromGrpcStatus(ToGrpcStatus(FieldStatus()));
  const absl::Status retry = FromGrpcStatus(ToGrpcStatus(overloaded));
  const absl::Status plain =
      FromGrpcStatus(ToGrpcStatus(absl::NotFoundError("gone")));

  EXPECT_EQ(field.message(), FieldStatus().message());
  EXPECT_EQ(ReasonOf(field), reason::kFieldShape);
  EXPECT_EQ(MetadataOf(field).size(), 3U);
  EXPECT_EQ(RetryAfterOf(retry), absl::Milliseconds(1250));
  EXPECT_EQ(ReasonOf(retry), reason::kOverloaded);
  EXPECT_EQ(plain, absl::NotFoundError("gone"));
  EXPECT_TRUE(FromGrpcStatus(ToGrpcStatus(absl::OkStatus())).ok());
}

TEST(StatusCodec, UnderstandsStatusesOfOthers) {
  const absl::Status bare = FromGrpcStatus(
      grpc::Status(grpc::StatusCode::UNAVAILABLE, "no connection"));
  const absl::Status torn = FromGrpcStatus(
      grpc::Status(grpc::StatusCode::INTERNAL, "oops", "\xff\xff"));

  EXPECT_EQ(bare, absl::UnavailableError("no connection"));
  EXPECT_EQ(torn, absl::InternalError("oops"));
}

}  // namespace
}  // namespace stepd
