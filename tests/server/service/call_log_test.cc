// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/service/call_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "server/common/error.h"
#include "server/observe/log.h"
#include "tests/server/service/served_engine.h"

namespace stepd {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::internal::CaptureStderr;
using ::testing::internal::GetCapturedStderr;

absl::Status BadValue() {
  return Error(absl::StatusCode::kInvalidArgument, reason::kFieldRange,
               "input \"x\": got 4711, want 0 to 9",
               {{"field", "x"}, {"got", "4711"}, {"want", "0 to 9"}});
}

TEST(CallLog, TellsReasonAndFieldButNoValue) {
  SetUpLog(LogLevel::kDebug, LogFormat::kJson);
  CaptureStderr();

  LogFailedCall("Step", "abc", BadValue());

  const std::string text = GetCapturedStderr();
  const nlohmann::json line = nlohmann::json::parse(text);
  EXPECT_EQ(line["level"], "debug");
  EXPECT_EQ(line["method"], "Step");
  EXPECT_EQ(line["request_id"], "abc");
  EXPECT_EQ(line["code"], "INVALID_ARGUMENT");
  EXPECT_EQ(line["reason"], "FIELD_RANGE");
  EXPECT_EQ(line["field"], "x");
  EXPECT_THAT(text, Not(HasSubstr("4711")));
}

TEST(CallLog, KeepsFaultsOfClientsToThoseWhoDebug) {
  SetUpLog(LogLevel::kInfo, LogFormat::kText);
  CaptureStderr();

  LogFailedCall("Step", "abc", BadValue());

  EXPECT_THAT(GetCapturedStderr(), IsEmpty());
  EXPECT_FALSE(IsFailureLogged(BadValue()));
  EXPECT_TRUE(IsFailureLogged(absl::InternalError("ours")));
}

// Log lines of one refused Step with this "x-request-id".
std::string LinesOfARefusal(const std::string& request_id) {
  ServedEngine served;
  grpc::ClientContext context;
  context.AddMetadata("x-request-id", request_id);
  v1::StepResponse response;
  CaptureStderr();
  EXPECT_FALSE(
      served.stub().Step(&context, FakeRequest("", 1), &response).ok());
  return GetCapturedStderr();
}

TEST(CallLog, CarriesTheClientsRequestId) {
  SetUpLog(LogLevel::kDebug, LogFormat::kText);

  EXPECT_THAT(LinesOfARefusal("my-id"), HasSubstr("request_id=my-id "));
  EXPECT_THAT(LinesOfARefusal(std::string(100, 'x')),
              HasSubstr("request_id=" + std::string(64, 'x') + " "));
  // Without one, any.
  EXPECT_THAT(LinesOfARefusal(""), Not(HasSubstr("request_id=\"\"")));
}

TEST(CallLog, NumbersTheRequestsOfAStream) {
  SetUpLog(LogLevel::kDebug, LogFormat::kText);
  ServedEngine served;
  grpc::ClientContext context;
  context.AddMetadata("x-request-id", "my-stream");
  CaptureStderr();

  auto stream = served.stub().StepStream(&context);
  v1::StepStreamRequest request;
  request.set_request_id(17);
  stream->Write(request);
  v1::StepStreamResponse response;
  EXPECT_TRUE(stream->Read(&response));
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());

  EXPECT_THAT(GetCapturedStderr(), HasSubstr("request_id=my-stream/17 "));
}

}  // namespace
}  // namespace stepd
