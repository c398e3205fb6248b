// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tools/bench_cc/stream_bandwidth.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "model/kernels/huge_pages.h"
#include "tools/bench_cc/cpu_clock.h"

namespace stepd::bench {
namespace {

constexpr int kRepetitions = 5;
// Sums that do not wait for each other.
constexpr std::size_t kSums = 16;

std::uint64_t SumOf(const std::vector<std::uint64_t>& words) {
  std::uint64_t sums[kSums] = {};
  for (std::size_t i = 0; i < words.size(); i += kSums) {
    for (std::size_t j = 0; j < kSums; ++j) sums[j] += words[i + j];
  }
  std::uint64_t sum = 0;
  for (const std::uint64_t one : sums) sum += one;
  return sum;
}

}  // namespace

double MeasureStreamBandwidth(std::size_t bytes) {
  std::vector<std::uint64_t> words;
  words.reserve(bytes / sizeof(std::uint64_t) / kSums * kSums);
  kernels::AdviseHugePages(words.data(),
                           words.capacity() * sizeof(std::uint64_t));
  words.resize(bytes / sizeof(std::uint64_t) / kSums * kSums, 1);
  double best = 0.0;
  for (int i = 0; i < kRepetitions; ++i) {
    const double begin = ThreadCpuSeconds();
    const std::uint64_t sum = SumOf(words);
    const double seconds = ThreadCpuSeconds() - begin;
    if (sum != words.size()) return 0.0;  // so that the sum is needed
    best = std::max(best, static_cast<double>(bytes) / seconds);
  }
  return best;
}

}  // namespace stepd::bench
