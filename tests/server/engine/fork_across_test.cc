// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Forks on several executors, of which only the tasks are seen.

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/fork.h"

namespace stepd {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class ForkAcrossTest : public testing::Test {
 protected:
  // Forks "source" to "here" beside it and to "c" and "d" elsewhere.
  void Fork(std::vector<std::string> made_beside) {
    ForkTask task;
    task.actor_id = "source";
    task.forks = {"here"};
    task.done = [this](absl::StatusOr<ForkResult> result) {
      result_ = std::move(result);
    };
    const absl::Status status =
        ForkAcross(std::move(task), {"c", "d"}, [this](Task t) {
          tasks_.push_back(std::move(t));
          return absl::OkStatus();
        });
    ASSERT_TRUE(status.ok());
    ForkResult local;
    local.epoch = 3;
    local.made = std::move(made_beside);
    local.record = std::make_shared<const SessionRecord>();
    local.kv_policy = KvPolicy::kKeep;
    std::get<ForkTask>(tasks_.at(0)).done(std::move(local));
  }
  void AnswerCopies(const absl::StatusOr<bool>& c,
                    const absl::StatusOr<bool>& d) {
    std::get<ImportTask>(tasks_.at(1)).done(c);
    std::get<ImportTask>(tasks_.at(2)).done(d);
  }
  // Whose sessions were ended after all.
  std::vector<std::string> Undone() const {
    std::vector<std::string> actors;
    for (const Task& task : tasks_) {
      if (std::holds_alternative<ResetTask>(task)) {
        actors.push_back(ActorOf(task));
      }
    }
    return actors;
  }

  std::vector<Task> tasks_;
  std::optional<absl::StatusOr<ForkResult>> result_;
};

TEST_F(ForkAcrossTest, ItIsDoneWhenEveryCopyIsMade) {
  Fork({"here"});
  std::get<ImportTask>(tasks_.at(1)).done(true);
  EXPECT_FALSE(result_.has_value());
  std::get<ImportTask>(tasks_.at(2)).done(true);

  ASSERT_TRUE(result_.has_value() && result_->ok());
  EXPECT_EQ((*result_)->epoch, 3);
  EXPECT_EQ(std::get<ImportTask>(tasks_.at(1)).kv_policy, KvPolicy::kKeep);
  // The caller gave no epoch: an equal one is a coincidence.
  EXPECT_FALSE(std::get<ImportTask>(tasks_.at(1)).may_be_made);
  EXPECT_THAT(Undone(), IsEmpty());
}

TEST_F(ForkAcrossTest, OfForksThatCannotAllBeMadeNoneIs) {
  Fork({"here"});
  AnswerCopies(true, absl::AlreadyExistsError("d has a session"));

  EXPECT_TRUE(absl::IsAlreadyExists(result_->status()));
  EXPECT_THAT(Undone(), ElementsAre("here", "c"));
}

TEST_F(ForkAcrossTest, ACallThatComesTwiceEndsNothingThatTheFirstOneMade) {
  Fork({});  // "here" was made before, and so was "c"
  AnswerCopies(false, absl::AlreadyExistsError("d has gone on"));

  EXPECT_TRUE(absl::IsAlreadyExists(result_->status()));
  EXPECT_THAT(Undone(), IsEmpty());
}

}  // namespace
}  // namespace stepd
