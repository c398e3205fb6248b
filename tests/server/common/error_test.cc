// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/common/error.h"

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace stepd {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

TEST(Error, CarriesReasonAndMetadata) {
  const absl::Status status =
      Error(absl::StatusCode::kInvalidArgument, reason::kFieldRange,
            "obs is out of range", {{"field", "obs"}, {"got", "7"}});

  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "obs is out of range");
  EXPECT_EQ(ReasonOf(status), "FIELD_RANGE");
  EXPECT_THAT(MetadataOf(status),
              ElementsAre(Pair("field", "obs"), Pair("got", "7")));
  EXPECT_FALSE(RetryAfterOf(status).has_value());
}

TEST(Error, KeepsMetadataOfAnyBytes) {
  const std::string odd("a\0b\xff=,", 6);

  const absl::Status status = Error(absl::StatusCode::kInternal, "R", "m",
                                    {{odd, ""}, {"", std::string(3000, 'x')}});

  EXPECT_THAT(MetadataOf(status),
              ElementsAre(Pair(odd, ""), Pair("", std::string(3000, 'x'))));
}

TEST(Error, OfAnyOtherOriginHasNoReason) {
  const absl::Status status = absl::NotFoundError("no such file");

  EXPECT_EQ(ReasonOf(status), "");
  EXPECT_THAT(MetadataOf(status), IsEmpty());
  EXPECT_FALSE(RetryAfterOf(status).has_value());
  EXPECT_EQ(ReasonOf(absl::OkStatus()), "");
}

TEST(RetryableError, SaysWhenToComeBack) {
  const absl::Status status =
      RetryableError(absl::StatusCode::kResourceExhausted, reason::kOverloaded,
                     "the queue is full", absl::Milliseconds(250));

  EXPECT_EQ(ReasonOf(status), "OVERLOADED");
  EXPECT_EQ(RetryAfterOf(status), absl::Milliseconds(250));
}

}  // namespace
}  // namespace stepd
