// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/service/order_codec.h"

#include <optional>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/stepd/v1/policy_service.pb.h"
#include "server/common/error.h"

namespace stepd {
namespace {

TEST(OrderCodecTest, AStepSaysItsPlaceOrNothing) {
  v1::StepRequest request;
  StepTask nothing;
  ASSERT_TRUE(DecodeOrder(request, &nothing).ok());
  EXPECT_EQ(nothing.step_index, std::nullopt);
  EXPECT_EQ(nothing.epoch, std::nullopt);
  EXPECT_EQ(nothing.boundary, Boundary::kNone);

  request.set_step_index(0);
  request.set_epoch(9);
  request.set_boundary(v1::BOUNDARY_TASK);
  StepTask task;
  ASSERT_TRUE(DecodeOrder(request, &task).ok());
  EXPECT_EQ(task.step_index, 0);
  EXPECT_EQ(task.epoch, 9);
  EXPECT_EQ(task.boundary, Boundary::kTask);
}

TEST(OrderCodecTest, ABoundaryThatDoesNotExistIsRefused) {
  v1::StepRequest request;
  request.set_boundary(static_cast<v1::Boundary>(7));
  StepTask task;
  EXPECT_EQ(ReasonOf(DecodeOrder(request, &task)), reason::kFieldRange);
}

TEST(OrderCodecTest, RowsTakeTheirEntryOfEveryColumn) {
  v1::StepBatchRequest request;
  for (const char* actor : {"a", "b"}) request.add_actor_ids(actor);
  request.add_step_indices(3);
  request.add_step_indices(4);
  request.add_boundaries(v1::BOUNDARY_NONE);
  request.add_boundaries(v1::BOUNDARY_EPISODE);
  ASSERT_TRUE(CheckOrderColumns(request).ok());

  StepTask task;
  ASSERT_TRUE(DecodeOrder(request, 1, &task).ok());
  EXPECT_EQ(task.step_index, 4);
  EXPECT_EQ(task.epoch, std::nullopt);
  EXPECT_EQ(task.boundary, Boundary::kEpisode);
}

TEST(OrderCodecTest, AColumnHasOneEntryPerActorOrNone) {
  v1::StepBatchRequest request;
  for (const char* actor : {"a", "b"}) request.add_actor_ids(actor);
  request.add_epochs(1);
  const absl::Status status = CheckOrderColumns(request);
  EXPECT_EQ(ReasonOf(status), reason::kFieldShape);
  EXPECT_THAT(MetadataOf(status),
              testing::Contains(testing::Pair("field", "epochs")));
}

}  // namespace
}  // namespace stepd
