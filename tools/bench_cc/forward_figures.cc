// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tools/bench_cc/forward_figures.h"

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <tuple>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "model/loader.h"
#include "model/policy.h"
#include "tools/bench_cc/fixed_forward.h"
#include "tools/bench_cc/peak_flops.h"
#include "tools/bench_cc/server_counters.h"
#include "tools/bench_cc/statistics.h"
#include "tools/bench_cc/stream_bandwidth.h"

namespace stepd::bench {
namespace {

// Contexts of a load whose episodes of 128 steps are staggered.
constexpr std::int64_t kEpisodeSteps = 128;
constexpr int kGrowthSessions = 32;
constexpr std::int64_t kMixedContext = 1024;
constexpr std::size_t kStreamBytes = std::size_t{256} << 20;

std::vector<std::int64_t> Staggered(int sessions) {
  std::vector<std::int64_t> lengths;
  for (int i = 0; i < sessions; ++i) {
    lengths.push_back(i * kEpisodeSteps / sessions);
  }
  return lengths;
}

// 1 .. kMixedContext, evenly.
std::vector<std::int64_t> Mixed(int sessions) {
  std::vector<std::int64_t> lengths;
  for (int i = 0; i < sessions; ++i) {
    lengths.push_back(1 + i * (kMixedContext - 1) / (sessions - 1));
  }
  return lengths;
}

std::int64_t Sum(const std::vector<std::int64_t>& lengths) {
  std::int64_t sum = 0;
  for (const std::int64_t length : lengths) sum += length;
  return sum;
}

double ResidentBytes() { return ReadResidentBytes(getpid()).value_or(0.0); }

// A forward to be timed, and its time in the round at hand.
class Case {
 public:
  static absl::StatusOr<std::unique_ptr<Case>> Create(
      const Policy* policy, const std::vector<std::int64_t>& lengths) {
    auto forward = FixedForward::Create(policy, lengths);
    if (!forward.ok()) return forward.status();
    auto one = std::make_unique<Case>();
    one->forward_ = *std::move(forward);
    return one;
  }

  // The median of the forwards that `seconds` have room for, and at least one.
  absl::Status Run(double seconds) {
    std::vector<double> times;
    for (double spent = 0.0; times.empty() || spent < seconds;) {
      const auto time = forward_->Run();
      if (!time.ok()) return time.status();
      times.push_back(*time);
      spent += *time;
    }
    seconds_ = Median(std::move(times));
    return absl::OkStatus();
  }
  double seconds() const { return seconds_; }

 private:
  std::unique_ptr<FixedForward> forward_;
  double seconds_ = 0.0;
};

class Measurement {
 public:
  explicit Measurement(const ForwardOptions& options) : options_(options) {}

  absl::StatusOr<std::vector<ForwardFigure>> Run();

 private:
  // How a figure follows from the times of a round.
  using Formula = std::function<double()>;

  absl::StatusOr<std::unique_ptr<Policy>> Load(absl::string_view kernels,
                                               absl::string_view dtype) const;
  absl::StatusOr<const Case*> Add(const Policy* policy,
                                  const std::vector<std::int64_t>& lengths);
  absl::Status AddComparison(const std::string& name, const Policy* other,
                             const std::vector<int>& sessions);
  absl::Status AddPeak();
  absl::Status AddRagged();
  absl::Status AddGrowth();
  absl::Status MeasureCacheMemory();
  absl::Status RunRounds();
  void AddFigure(std::string name, Formula formula) {
    figures_.push_back({{std::move(name), {}}, std::move(formula)});
  }

  struct Figure {
    ForwardFigure figure;
    Formula formula;
  };

  const ForwardOptions& options_;
  std::unique_ptr<Policy> native_;
  std::unique_ptr<Policy> reference_;
  std::unique_ptr<Policy> bfloat16_;
  std::vector<std::unique_ptr<Case>> cases_;
  std::vector<Figure> figures_;
};

absl::StatusOr<std::unique_ptr<Policy>> Measurement::Load(
    absl::string_view kernels, absl::string_view dtype) const {
  LoadOptions options;
  options.kernels = std::string(kernels);
  options.dtype = std::string(dtype);
  return LoadPolicy(options_.checkpoint, options);
}

absl::StatusOr<const Case*> Measurement::Add(
    const Policy* policy, const std::vector<std::int64_t>& lengths) {
  auto one = Case::Create(policy, lengths);
  if (!one.ok()) return one.status();
  cases_.push_back(*std::move(one));
  return cases_.back().get();
}

// Time of `other` over that of native float32 kernels.
absl::Status Measurement::AddComparison(const std::string& name,
                                        const Policy* other,
                                        const std::vector<int>& sessions) {
  for (const int count : sessions) {
    const auto ours = Add(native_.get(), Staggered(count));
    if (!ours.ok()) return ours.status();
    const auto theirs = Add(other, Staggered(count));
    if (!theirs.ok()) return theirs.status();
    AddFigure(absl::StrCat(name, ", M = ", count),
              [a = *theirs, b = *ours] { return a->seconds() / b->seconds(); });
  }
  return absl::OkStatus();
}

absl::Status Measurement::AddPeak() {
  for (const int count : {32, 64}) {
    const auto one = Add(native_.get(), Staggered(count));
    if (!one.ok()) return one.status();
    const double flops = count * LinearFlopsPerStep(native_->spec());
    AddFigure(absl::StrCat("achieved / peak FLOP/s, M = ", count),
              [a = *one, flops] {
                return flops / a->seconds() / MeasurePeakFlops();
              });
  }
  return absl::OkStatus();
}

absl::Status Measurement::AddRagged() {
  const std::vector<std::int64_t> mixed = Mixed(kGrowthSessions);
  const auto ragged = Add(native_.get(), mixed);
  if (!ragged.ok()) return ragged.status();
  const auto equal = Add(
      native_.get(),
      std::vector<std::int64_t>(mixed.size(), Sum(mixed) / kGrowthSessions));
  if (!equal.ok()) return equal.status();
  AddFigure("time of contexts 1 .. 1024 / equal ones, M = 32",
            [a = *ragged, b = *equal] { return a->seconds() / b->seconds(); });
  return absl::OkStatus();
}

absl::Status Measurement::AddGrowth() {
  const Case* shorter = nullptr;
  const Case* first = nullptr;
  const Case* last = nullptr;
  for (std::int64_t length = kEpisodeSteps; length <= options_.longest_context;
       length *= 2) {
    const auto one =
        Add(native_.get(), std::vector<std::int64_t>(kGrowthSessions, length));
    if (!one.ok()) return one.status();
    if (first == nullptr) first = *one;
    AddFigure(absl::StrCat("forward ms, M = 32, context ", length),
              [a = *one] { return a->seconds() * 1e3; });
    shorter = last;
    last = *one;
  }
  if (shorter == nullptr) return absl::OkStatus();
  // Of what the longest contexts add to the shortest.
  const double tokens =
      static_cast<double>(options_.longest_context - kEpisodeSteps);
  AddFigure("growth of the last doubling / proportional growth",
            [=, longest = static_cast<double>(options_.longest_context)] {
              return (last->seconds() - shorter->seconds()) /
                     (last->seconds() - first->seconds()) * tokens * 2.0 /
                     longest;
            });
  const double bytes = tokens * kGrowthSessions *
                       static_cast<double>(native_->spec().kv_bytes_per_token);
  AddFigure("K/V bytes per second / stream bandwidth", [=] {
    return bytes / (last->seconds() - first->seconds()) /
           MeasureStreamBandwidth(kStreamBytes);
  });
  return absl::OkStatus();
}

// Once: what mixed contexts take of memory, to what they hold. What a runner of
// one block per session takes besides is taken off.
absl::Status Measurement::MeasureCacheMemory() {
  const PolicySpec& spec = native_->spec();
  const std::vector<std::int64_t> lengths = Mixed(kGrowthSessions);
  const double at_first = ResidentBytes();
  const auto least = FixedForward::Create(
      native_.get(), std::vector<std::int64_t>(kGrowthSessions, 0));
  if (!least.ok()) return least.status();
  const double besides =
      ResidentBytes() - at_first -
      static_cast<double>(kGrowthSessions * spec.kv_bytes_per_block());
  const double before = ResidentBytes();
  const auto one = Add(native_.get(), lengths);
  if (!one.ok()) return one.status();
  const double taken = ResidentBytes() - before - besides;
  const double held = static_cast<double>(Sum(lengths) + kGrowthSessions) *
                      static_cast<double>(spec.kv_bytes_per_token);
  AddFigure("KV bytes resident / held, contexts 1 .. 1024",
            [=] { return taken / held; });
  return absl::OkStatus();
}

absl::Status Measurement::RunRounds() {
  for (int round = 0; round < options_.rounds; ++round) {
    for (const std::unique_ptr<Case>& one : cases_) {
      const absl::Status status = one->Run(options_.seconds);
      if (!status.ok()) return status;
    }
    for (Figure& figure : figures_) {
      figure.figure.rounds.push_back(figure.formula());
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<ForwardFigure>> Measurement::Run() {
  for (const auto& [policy, kernels, dtype] :
       {std::tuple(&native_, "native", "float32"),
        std::tuple(&reference_, "reference", "float32"),
        std::tuple(&bfloat16_, "native", "bfloat16")}) {
    auto loaded = Load(kernels, dtype);
    if (!loaded.ok()) return loaded.status();
    *policy = *std::move(loaded);
  }
  absl::Status status = AddComparison("reference / native kernels, time",
                                      reference_.get(), {1, 8, 32, 64});
  if (status.ok()) status = AddPeak();
  if (status.ok()) status = AddRagged();
  if (status.ok()) status = MeasureCacheMemory();
  if (status.ok()) status = AddGrowth();
  if (!status.ok()) return status;
  // The other way round: bfloat16 is the faster one.
  for (const int count : {8, 64}) {
    const auto wide = Add(native_.get(), Staggered(count));
    if (!wide.ok()) return wide.status();
    const auto narrow = Add(bfloat16_.get(), Staggered(count));
    if (!narrow.ok()) return narrow.status();
    AddFigure(absl::StrCat("float32 / bfloat16, time, M = ", count),
              [a = *wide, b = *narrow] { return a->seconds() / b->seconds(); });
  }
  status = RunRounds();
  if (!status.ok()) return status;
  std::vector<ForwardFigure> figures;
  for (Figure& figure : figures_) figures.push_back(std::move(figure.figure));
  return figures;
}

}  // namespace

absl::StatusOr<std::vector<ForwardFigure>> MeasureForward(
    const ForwardOptions& options) {
  return Measurement(options).Run();
}

}  // namespace stepd::bench
