// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Tasks that end their session. The fake policy spoils what final slices write,
// so whoever reads it answers wrongly.

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/common/error.h"
#include "server/engine/executor.h"
#include "tests/server/engine/executor_fixture.h"

namespace stepd {
namespace {

using testing::ElementsAre;

class EphemeralTest : public ExecutorFixture {
 protected:
  Answer* LastStep(const std::string& actor,
                   const std::vector<std::int64_t>& xs,
                   float temperature = 0.0F) {
    Answer* answer = nullptr;
    StepTask task = Task(actor, xs, &answer);
    task.is_ephemeral = true;
    task.sampling.temperature = temperature;
    Submit(std::move(task));
    return answer;
  }
};

TEST_F(EphemeralTest, ASessionMayBeOneCallLong) {
  max_sessions_ = 1;
  Start();

  const Answer* answer = LastStep("a", {1, 2, 3, 4, 5});
  RunBatch();

  EXPECT_THAT(answer->reply(), SameReply(Replay("a", {}, {1, 2, 3, 4, 5})));
  EXPECT_EQ(answer->reply().step_index, 5U);
  EXPECT_EQ(executor_->FindSession("a"), nullptr);
  EXPECT_EQ(executor_->gauges().num_sessions, 0);
  EXPECT_EQ(executor_->gauges().num_blocks_used, 0);
  EXPECT_THAT(observer_.records().session_ends,
              ElementsAre(SessionEnd::kEphemeral));
  // Its place among the sessions is free again.
  const Answer* other = Step("b", {6});
  RunBatch();
  EXPECT_THAT(other->reply(), SameReply(Replay("b", {}, {6})));
}

TEST_F(EphemeralTest, EndsASessionThatIsOpen) {
  Start();
  Grow("a", 3);

  const Answer* last = LastStep("a", {9});
  const Answer* first = Step("a", {4});
  RunBatch();
  RunBatch();

  EXPECT_THAT(last->reply(), SameReply(Replay("a", {0, 1, 2}, {9})));
  EXPECT_THAT(first->reply(), SameReply(Replay("a", {}, {4})));
}

TEST_F(EphemeralTest, OnlyTheLastPartOfALongCallIsFinal) {
  options_.batching.max_batch_tokens = 2;
  Start();

  const Answer* answer = LastStep("a", {1, 2, 3, 4, 5});
  RunAll();

  EXPECT_THAT(answer->reply(), SameReply(Replay("a", {}, {1, 2, 3, 4, 5})));
  EXPECT_GE(policy_->forwards().size(), 3U);
}

TEST_F(EphemeralTest, AFailureLeavesTheSessionAsItWas) {
  Start();
  Grow("a", 5);

  const Answer* failed = LastStep("a", {kNanStep}, /*temperature=*/1.0F);
  RunBatch();
  const Answer* next = Step("a", {7});
  RunBatch();

  EXPECT_EQ(ReasonOf(failed->status()), reason::kScores);
  EXPECT_THAT(next->reply(), SameReply(Replay("a", {0, 1, 2, 3, 4}, {7})));
}

// The rebuilt steps stay cached, so they must have been written.
TEST_F(EphemeralTest, AFailureAfterARebuildLeavesTheSessionAsItWas) {
  options_.num_blocks = 3;
  Start();
  Grow("a", 5);
  Grow("b", 9);  // evicts
  ASSERT_EQ(NumCached("a"), 0);

  const Answer* failed = LastStep("a", {kNanStep}, /*temperature=*/1.0F);
  RunBatch();
  ASSERT_EQ(NumCached("a"), 5);
  const Answer* next = Step("a", {7});
  RunBatch();

  EXPECT_EQ(ReasonOf(failed->status()), reason::kScores);
  EXPECT_THAT(next->reply(), SameReply(Replay("a", {0, 1, 2, 3, 4}, {7})));
}

}  // namespace
}  // namespace stepd
