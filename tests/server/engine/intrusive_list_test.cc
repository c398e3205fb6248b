// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/intrusive_list.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace stepd {
namespace {

struct Item {
  int value = 0;
  ListLink<Item> link;
};
using List = IntrusiveList<Item, &Item::link>;

std::vector<int> Forward(const List& list) {
  std::vector<int> values;
  for (Item* item = list.front(); item != nullptr; item = List::Next(item)) {
    values.push_back(item->value);
  }
  return values;
}

std::vector<int> Backward(const List& list) {
  std::vector<int> values;
  for (Item* item = list.back(); item != nullptr; item = List::Previous(item)) {
    values.push_back(item->value);
  }
  return values;
}

class IntrusiveListTest : public testing::Test {
 protected:
  IntrusiveListTest() {
    for (Item& item : items_) list_.PushBack(&item);
  }
  Item items_[4] = {{0, {}}, {1, {}}, {2, {}}, {3, {}}};
  List list_;
};

TEST_F(IntrusiveListTest, KeepsTheOrderOfInsertion) {
  EXPECT_THAT(Forward(list_), testing::ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(Backward(list_), testing::ElementsAre(3, 2, 1, 0));
}

TEST_F(IntrusiveListTest, RemovesFromFrontMiddleAndBack) {
  list_.Remove(&items_[1]);
  EXPECT_THAT(Forward(list_), testing::ElementsAre(0, 2, 3));
  list_.Remove(&items_[0]);
  EXPECT_THAT(Backward(list_), testing::ElementsAre(3, 2));
  list_.Remove(&items_[3]);
  EXPECT_THAT(Forward(list_), testing::ElementsAre(2));
  EXPECT_FALSE(List::Has(&items_[3]));
  EXPECT_TRUE(List::Has(&items_[2]));
  list_.Remove(&items_[2]);
  EXPECT_TRUE(list_.empty());
  EXPECT_EQ(list_.back(), nullptr);
}

TEST_F(IntrusiveListTest, TakesARemovedElementBackAtTheEnd) {
  list_.Remove(&items_[0]);
  list_.PushBack(&items_[0]);

  EXPECT_THAT(Forward(list_), testing::ElementsAre(1, 2, 3, 0));
}

}  // namespace
}  // namespace stepd
