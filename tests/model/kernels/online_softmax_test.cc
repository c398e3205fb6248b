// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/kernels/online_softmax.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "gtest/gtest.h"

namespace stepd::kernels {
namespace {

const std::vector<float> kLogits = {0.5F, -3.0F, 8.0F,  8.0F, -100.0F,
                                    2.0F, 90.0F, -1.0F, 0.0F};

// The sum of softmax(logits)[i] * i, over [begin, end).
struct Part {
  OnlineSoftmax softmax;
  float sum = 0.0F;
};
Part AddUp(std::size_t begin, std::size_t end, std::size_t chunk) {
  Part part;
  for (std::size_t first = begin; first < end; first += chunk) {
    const std::size_t last = std::min(end, first + chunk);
    float highest = -INFINITY;
    for (std::size_t i = first; i < last; ++i) {
      highest = std::max(highest, kLogits[i]);
    }
    part.sum *= part.softmax.Raise(highest);
    for (std::size_t i = first; i < last; ++i) {
      const float weight = part.softmax.Weight(kLogits[i]);
      part.softmax.sum += weight;
      part.sum += weight * static_cast<float>(i);
    }
  }
  return part;
}

double Expected() {
  double sum = 0.0;
  double weighted = 0.0;
  for (std::size_t i = 0; i < kLogits.size(); ++i) {
    sum += std::exp(static_cast<double>(kLogits[i]) - 90.0);
    weighted += std::exp(static_cast<double>(kLogits[i]) - 90.0) *
                static_cast<double>(i);
  }
  return weighted / sum;
}

TEST(OnlineSoftmax, SeesChunksOfAnySize) {
  for (std::size_t chunk = 1; chunk <= kLogits.size(); ++chunk) {
    const Part part = AddUp(0, kLogits.size(), chunk);
    EXPECT_NEAR(part.sum / part.softmax.sum, Expected(), 1e-5) << chunk;
  }
}

TEST(OnlineSoftmax, MergesSplitsOfWhichSomeAreEmpty) {
  const std::vector<Part> parts = {AddUp(0, 4, 2), Part{}, AddUp(4, 9, 3)};
  OnlineSoftmax whole;
  for (const Part& part : parts) whole.Raise(part.softmax.highest);
  float sum = 0.0F;
  for (const Part& part : parts) {
    const float weight = whole.Weight(part.softmax.highest);
    whole.sum += weight * part.softmax.sum;
    sum += weight * part.sum;
  }

  EXPECT_NEAR(sum / whole.sum, Expected(), 1e-5);
}

TEST(OnlineSoftmax, IsUnchangedByLogitsThatAreNotVisible) {
  OnlineSoftmax softmax;
  EXPECT_TRUE(softmax.is_empty());

  EXPECT_EQ(softmax.Raise(-INFINITY), 1.0F);
  EXPECT_TRUE(softmax.is_empty());
  EXPECT_EQ(softmax.Weight(-INFINITY), 0.0F);

  softmax.Raise(3.0F);
  softmax.sum += softmax.Weight(3.0F);
  EXPECT_EQ(softmax.Raise(-INFINITY), 1.0F);
  EXPECT_EQ(softmax.Weight(-INFINITY), 0.0F);
  EXPECT_EQ(softmax.sum, 1.0F);
}

}  // namespace
}  // namespace stepd::kernels
