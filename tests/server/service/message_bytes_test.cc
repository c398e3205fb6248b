// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/service/message_bytes.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "proto/stepd/v1/policy_service.pb.h"
#include "server/common/error.h"

namespace stepd {
namespace {

grpc::ByteBuffer Bytes(const std::vector<std::string>& parts) {
  std::vector<grpc::Slice> slices;
  for (const std::string& part : parts) slices.emplace_back(part);
  return grpc::ByteBuffer(slices.data(), slices.size());
}

v1::ResetRequest Request() {
  v1::ResetRequest request;
  request.set_actor_id("alice");
  return request;
}

TEST(MessageBytes, RoundTrip) {
  grpc::ByteBuffer bytes;
  v1::ResetRequest parsed;

  SerializeMessage(Request(), &bytes);

  ASSERT_TRUE(ParseMessage(bytes, &parsed).ok());
  EXPECT_EQ(parsed.actor_id(), "alice");
}

TEST(MessageBytes, ReplaceWhatTheBufferHeld) {
  grpc::ByteBuffer bytes = Bytes({"something else"});
  v1::ResetRequest parsed;

  SerializeMessage(Request(), &bytes);

  ASSERT_TRUE(ParseMessage(bytes, &parsed).ok());
  EXPECT_EQ(parsed.actor_id(), "alice");
}

TEST(MessageBytes, ParseAMessageInPieces) {
  const std::string whole = Request().SerializeAsString();
  v1::ResetRequest parsed;

  const absl::Status status =
      ParseMessage(Bytes({whole.substr(0, 3), whole.substr(3)}), &parsed);

  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(parsed.actor_id(), "alice");
}

TEST(MessageBytes, ParseAnEmptyMessage) {
  v1::ResetRequest parsed;

  EXPECT_TRUE(ParseMessage(Bytes({""}), &parsed).ok());
}

TEST(MessageBytes, RefuseWhatIsNoMessage) {
  v1::ResetRequest parsed;

  for (const char* bytes : {"\xff\xff", "\x0a\x05xy", "\x0a\x01\xe9"}) {
    const absl::Status status = ParseMessage(Bytes({bytes}), &parsed);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(ReasonOf(status), reason::kMessage);
  }
  EXPECT_FALSE(ParseMessage(grpc::ByteBuffer(), &parsed).ok());
}

}  // namespace
}  // namespace stepd
