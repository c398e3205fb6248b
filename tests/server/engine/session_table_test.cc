// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/session_table.h"

#include <chrono>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "model/kv_cache/block_pool.h"

namespace stepd {
namespace {

using std::chrono::seconds;

MonotonicTime At(int second) { return MonotonicTime(seconds(1000 + second)); }

class SessionTableTest : public testing::Test {
 protected:
  Session* Idle(absl::string_view id, int second) {
    Session* session = table_.FindOrCreate(id);
    table_.MarkBusy(session);
    table_.MarkIdle(session, At(second));
    return session;
  }
  Session* IdleWithBlock(absl::string_view id, int second) {
    Session* session = table_.FindOrCreate(id);
    table_.MarkBusy(session);
    EXPECT_TRUE(pool_.Allocate(1, &session->blocks));
    table_.MarkIdle(session, At(second));
    return session;
  }

  BlockPool pool_{100};
  SessionTable table_{SessionShape{8}};
};

TEST_F(SessionTableTest, FindsWhatWasCreatedUntilItIsErased) {
  EXPECT_EQ(table_.Find("a"), nullptr);
  Session* a = table_.FindOrCreate("a");
  Session* b = table_.FindOrCreate("b");

  EXPECT_NE(a, b);
  EXPECT_EQ(table_.Find("a"), a);
  EXPECT_EQ(table_.FindOrCreate("a"), a);
  EXPECT_EQ(a->actor_id, "a");
  EXPECT_EQ(table_.size(), 2);
  table_.Erase(a);
  EXPECT_EQ(table_.Find("a"), nullptr);
  EXPECT_EQ(table_.Find("b"), b);
}

TEST_F(SessionTableTest, AddressesStayWhenTheTableGrows) {
  Session* first = table_.FindOrCreate("first");
  for (int i = 0; i < 1000; ++i) table_.FindOrCreate(absl::StrCat(i));

  EXPECT_EQ(table_.Find("first"), first);
}

TEST_F(SessionTableTest, OrdersIdleSessionsByLastUse) {
  Session* a = Idle("a", 1);
  Session* b = Idle("b", 2);
  EXPECT_EQ(table_.OldestIdle(), a);

  Idle("a", 3);
  EXPECT_EQ(table_.OldestIdle(), b);
  table_.MarkBusy(b);
  EXPECT_EQ(table_.OldestIdle(), a);
  table_.Erase(a);
  EXPECT_EQ(table_.OldestIdle(), nullptr);
}

TEST_F(SessionTableTest, OffersOnlyIdleSessionsWithBlocksForEviction) {
  Idle("empty", 1);
  Session* a = IdleWithBlock("a", 2);
  Session* b = IdleWithBlock("b", 3);
  EXPECT_EQ(table_.OldestResident(), a);

  table_.MarkEvicted(a);
  EXPECT_EQ(table_.OldestResident(), b);
  EXPECT_EQ(table_.OldestIdle()->actor_id, "empty");
  table_.MarkBusy(b);
  EXPECT_EQ(table_.OldestResident(), nullptr);
}

TEST_F(SessionTableTest, CountsTheIdleSessionsThatWereUsedSince) {
  Idle("a", 1);
  Idle("b", 2);
  Session* c = Idle("c", 3);

  EXPECT_EQ(table_.CountRecent(At(0)), 3);
  EXPECT_EQ(table_.CountRecent(At(2)), 2);
  table_.MarkBusy(c);
  EXPECT_EQ(table_.CountRecent(At(2)), 1);
  table_.MarkIdle(c, At(4));
  EXPECT_EQ(table_.CountRecent(At(2)), 2);
  EXPECT_EQ(table_.CountRecent(At(5)), 0);
  Idle("a", 6);
  EXPECT_EQ(table_.CountRecent(At(5)), 1);
}

TEST_F(SessionTableTest, ForgetsARecentSessionThatIsErased) {
  Session* a = Idle("a", 1);
  Idle("b", 2);

  table_.Erase(a);

  EXPECT_EQ(table_.CountRecent(At(0)), 1);
  EXPECT_EQ(table_.CountRecent(At(3)), 0);
}

}  // namespace
}  // namespace stepd
