// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/prepared_inputs_map.h"

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "gtest/gtest.h"

namespace stepd {
namespace {

class PreparedInputsMapTest : public testing::Test {
 protected:
  std::shared_ptr<const PreparedInputs> Prepare(absl::string_view inputs) {
    auto prepared = map_.FindOrMake(inputs, [&] {
      ++num_made_;
      return std::make_unique<PreparedInputs>();
    });
    return *std::move(prepared);
  }

  PreparedInputsMap map_;
  int num_made_ = 0;
};

TEST_F(PreparedInputsMapTest, EqualInputsShareOne) {
  const auto first = Prepare("a picture");
  const auto again = Prepare("a picture");
  const auto other = Prepare("another");

  EXPECT_EQ(first, again);
  EXPECT_NE(first, other);
  EXPECT_EQ(num_made_, 2);
}

TEST_F(PreparedInputsMapTest, IsMadeAnewWhenTheLastUserIsGone) {
  auto first = Prepare("a picture");
  auto again = first;
  first.reset();
  EXPECT_EQ(Prepare("a picture"), again);
  again.reset();

  Prepare("a picture");

  EXPECT_EQ(num_made_, 2);
}

TEST_F(PreparedInputsMapTest, AFailureIsGivenAndNotKept) {
  const auto failed = map_.FindOrMake(
      "a picture", []() -> absl::StatusOr<std::unique_ptr<PreparedInputs>> {
        return absl::ResourceExhaustedError("no room");
      });

  EXPECT_EQ(failed.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(Prepare("a picture"), nullptr);
}

}  // namespace
}  // namespace stepd
