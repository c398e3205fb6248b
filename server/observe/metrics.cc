// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/observe/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <ctime>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "server/common/mutex.h"
#include "server/observe/log.h"
#include "server/observe/version.h"

namespace stepd {
namespace {

using prometheus::Counter;
using prometheus::Gauge;
using prometheus::Histogram;
using Buckets = Histogram::BucketBoundaries;

// 20 us to 10 s: a tiny policy's forward to a long prefill's.
const Buckets& Seconds() {
  static const Buckets buckets = {2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3,
                                  2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 1e-1,
                                  2e-1, 5e-1, 1.0,  2.0,  5.0,  10.0};
  return buckets;
}

Buckets PowersOfTwo(int count) {
  Buckets buckets;
  for (int i = 0; i < count; ++i) {
    buckets.push_back(static_cast<double>(std::int64_t{1} << i));
  }
  return buckets;
}

double ToSeconds(MonotonicDuration duration) {
  return std::chrono::duration<double>(duration).count();
}

constexpr std::size_t kNumJournalCalls =
    static_cast<std::size_t>(JournalCall::kSync) + 1;
constexpr std::array<const char*, kNumJournalCalls> kJournalCallNames = {
    "append", "read", "sync"};

constexpr std::size_t kNumFireReasons =
    static_cast<std::size_t>(FireReason::kDraining) + 1;
constexpr std::size_t kNumSessionEnds =
    static_cast<std::size_t>(SessionEnd::kTakenOver) + 1;

class PrometheusMetrics final : public Metrics {
 public:
  PrometheusMetrics();

  void SetPolicy(const std::string& name, std::uint64_t version,
                 const PolicySpec& spec) override;
  bool is_journal_degraded() const override { return is_journal_degraded_; }
  std::string Text() const override;

  void OnBatch(const BatchRecord& record) override;
  void OnStep(const StepRecord& record) override;
  void OnError(absl::string_view reason) override ABSL_LOCKS_EXCLUDED(mu_);
  void OnForwardError(absl::string_view error_id,
                      const absl::Status& status) override;
  void OnSessionEnd(SessionEnd end) override;
  void OnExpiry(std::int64_t num_sessions, absl::string_view actor_id) override;
  void OnTrajectories(std::int64_t num_sent, std::int64_t num_dropped) override;
  void OnTrajectoryReaders(std::int64_t num_readers) override;
  void OnGauges(int executor, const ExecutorGauges& gauges) override
      ABSL_LOCKS_EXCLUDED(mu_);

  void OnJournalCall(JournalCall call, MonotonicDuration duration,
                     const absl::Status& status) override;
  void OnJournalExpired(int num_sessions) override;
  void OnJournalDegraded(bool is_degraded, const absl::Status& cause) override;
  void OnRollOut(std::uint64_t stable, absl::Duration duration) override;
  void OnChangeRefused(absl::string_view reason) override;
  void OnLoadedVersions(const std::vector<LoadedVersion>& versions) override;

 private:
  struct ExecutorSeries {
    Gauge* sessions;
    Gauge* blocks_used;
    Gauge* blocks;
    Gauge* queued;
  };

  Counter& AddCounter(const char* name, const char* help) {
    return prometheus::BuildCounter()
        .Name(name)
        .Help(help)
        .Register(registry_)
        .Add({});
  }
  prometheus::Family<Gauge>& AddGauges(const char* name, const char* help) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(registry_);
  }
  Histogram& AddHistogram(const char* name, const char* help,
                          const Buckets& buckets) {
    return prometheus::BuildHistogram()
        .Name(name)
        .Help(help)
        .Register(registry_)
        .Add({}, buckets);
  }
  void AddJournalSeries();
  const ExecutorSeries& SeriesOf(int executor)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Before everything that is registered in it.
  prometheus::Registry registry_;
  const std::chrono::steady_clock::time_point started_ =
      std::chrono::steady_clock::now();

  Counter& steps_;
  Counter& batches_;
  Counter& tokens_;
  Counter& rebuilt_;
  Counter& repeated_;
  Counter& forward_errors_;
  Counter& trajectories_sent_;
  Counter& trajectories_dropped_;
  Histogram& batch_sessions_;
  Histogram& batch_tokens_;
  Histogram& queue_wait_;
  Histogram& forward_;
  Histogram& step_latency_;
  Histogram& rollout_;
  Gauge& trajectory_readers_;
  Gauge& uptime_;
  Gauge& model_version_;
  prometheus::Family<Counter>& errors_;
  prometheus::Family<Counter>& refused_;
  prometheus::Family<Gauge>& version_sessions_;
  prometheus::Family<Gauge>& sessions_;
  prometheus::Family<Gauge>& blocks_used_;
  prometheus::Family<Gauge>& blocks_;
  prometheus::Family<Gauge>& queued_;
  std::array<Counter*, kNumFireReasons> fired_{};
  std::array<Counter*, kNumSessionEnds> session_ends_{};
  Counter& journal_expired_;
  Gauge& journal_degraded_;
  std::array<Histogram*, kNumJournalCalls> journal_seconds_{};
  std::array<Counter*, kNumJournalCalls> journal_errors_{};
  std::atomic<bool> is_journal_failing_{false};
  std::atomic<bool> is_journal_degraded_{false};
  // The registry's thread only.
  absl::flat_hash_map<std::uint64_t, Gauge*> loaded_versions_;

  Mutex mu_;
  absl::flat_hash_map<std::string, Counter*> errors_by_reason_
      ABSL_GUARDED_BY(mu_);
  std::vector<ExecutorSeries> executors_ ABSL_GUARDED_BY(mu_);
};

PrometheusMetrics::PrometheusMetrics()
    : steps_(AddCounter("stepd_steps_total",
                        "Environment steps answered or prefilled.")),
      batches_(AddCounter("stepd_batches_total", "Forward passes.")),
      tokens_(AddCounter("stepd_tokens_total", "Decoder rows computed.")),
      rebuilt_(AddCounter("stepd_rebuilt_calls_total",
                          "Calls whose session had lost its KV blocks and was "
                          "prefilled again.")),
      repeated_(AddCounter("stepd_repeated_calls_total",
                           "Calls that had been answered before and got the "
                           "stored reply.")),
      forward_errors_(AddCounter("stepd_forward_errors_total",
                                 "Forward passes that failed.")),
      trajectories_sent_(AddCounter("stepd_trajectory_steps_total",
                                    "Finished steps sent to readers.")),
      trajectories_dropped_(AddCounter("stepd_trajectory_dropped_steps_total",
                                       "Finished steps that readers were too "
                                       "slow for.")),
      batch_sessions_(AddHistogram("stepd_batch_sessions",
                                   "Sessions in a forward pass.",
                                   PowersOfTwo(11))),
      batch_tokens_(AddHistogram("stepd_batch_tokens",
                                 "Tokens in a forward pass.", PowersOfTwo(15))),
      queue_wait_(AddHistogram("stepd_queue_wait_seconds",
                               "From the queue to the forming of a batch.",
                               Seconds())),
      forward_(AddHistogram("stepd_forward_seconds", "Time of a forward pass.",
                            Seconds())),
      step_latency_(AddHistogram("stepd_step_latency_seconds",
                                 "From the queue to the answer.", Seconds())),
      rollout_(AddHistogram("stepd_rollout_seconds",
                            "Loading versions of the weights and putting them "
                            "into service.",
                            Seconds())),
      trajectory_readers_(
          AddGauges("stepd_trajectory_readers", "Readers of finished steps.")
              .Add({})),
      uptime_(AddGauges("stepd_uptime_seconds", "Since the process started.")
                  .Add({})),
      model_version_(AddGauges("stepd_model_version",
                               "The version that contexts begin under.")
                         .Add({})),
      errors_(prometheus::BuildCounter()
                  .Name("stepd_errors_total")
                  .Help("Calls that failed, by reason (docs/errors.md).")
                  .Register(registry_)),
      refused_(prometheus::BuildCounter()
                   .Name("stepd_weights_refused_total")
                   .Help("Changes of the weights that were refused, by reason.")
                   .Register(registry_)),
      version_sessions_(
          AddGauges("stepd_version_sessions",
                    "Versions in memory: sessions whose context is of each.")),
      sessions_(AddGauges("stepd_sessions", "Sessions in memory.")),
      blocks_used_(
          AddGauges("stepd_kv_blocks_used", "KV blocks that sessions hold.")),
      blocks_(AddGauges("stepd_kv_blocks", "KV blocks there are.")),
      queued_(
          AddGauges("stepd_queued_calls", "Calls accepted and not answered.")),
      journal_expired_(AddCounter("stepd_journal_expired_sessions_total",
                                  "Journalled sessions dropped after "
                                  "journal.ttl (rocksdb).")),
      journal_degraded_(AddGauges("stepd_journal_degraded",
                                  "1 while steps are acknowledged without "
                                  "being journalled.")
                            .Add({})) {
  auto& fired = prometheus::BuildCounter()
                    .Name("stepd_batches_fired_total")
                    .Help("Why a batch was formed when it was.")
                    .Register(registry_);
  for (std::size_t i = 0; i < fired_.size(); ++i) {
    fired_[i] =
        &fired.Add({{"reason", std::string(Name(static_cast<FireReason>(i)))}});
  }
  auto& ends = prometheus::BuildCounter()
                   .Name("stepd_session_ends_total")
                   .Help(
                       "Sessions that expired, were reset, or lost their KV "
                       "blocks to others.")
                   .Register(registry_);
  for (std::size_t i = 0; i < session_ends_.size(); ++i) {
    session_ends_[i] =
        &ends.Add({{"end", std::string(Name(static_cast<SessionEnd>(i)))}});
  }
  AddJournalSeries();
  AddGauges("stepd_build_info", "1; the version is a label.")
      .Add({{"version", kVersion}})
      .Set(1);
  AddGauges("stepd_start_time_seconds", "Unix time of the start.")
      .Add({})
      .Set(static_cast<double>(std::time(nullptr)));
}

void PrometheusMetrics::AddJournalSeries() {
  auto& seconds = prometheus::BuildHistogram()
                      .Name("stepd_journal_seconds")
                      .Help("Time of an append, a read, a sync of the journal.")
                      .Register(registry_);
  auto& errors = prometheus::BuildCounter()
                     .Name("stepd_journal_errors_total")
                     .Help("Appends, reads and syncs that failed.")
                     .Register(registry_);
  for (std::size_t i = 0; i < kNumJournalCalls; ++i) {
    const prometheus::Labels labels = {{"call", kJournalCallNames[i]}};
    journal_seconds_[i] = &seconds.Add(labels, Seconds());
    journal_errors_[i] = &errors.Add(labels);
  }
}

void PrometheusMetrics::SetPolicy(const std::string& name,
                                  std::uint64_t version,
                                  const PolicySpec& spec) {
  model_version_.Set(static_cast<double>(version));
  AddGauges("stepd_policy_info", "1; what is served is in the labels.")
      .Add({{"name", name}, {"device", spec.device}, {"dtype", spec.dtype}})
      .Set(1);
  AddGauges("stepd_policy_weight_bytes", "Resident weights.")
      .Add({})
      .Set(static_cast<double>(spec.weight_bytes));
  AddGauges("stepd_kv_bytes_per_block", "Size of one KV block.")
      .Add({})
      .Set(static_cast<double>(spec.kv_bytes_per_block()));
}

std::string PrometheusMetrics::Text() const {
  uptime_.Set(ToSeconds(std::chrono::steady_clock::now() - started_));
  return prometheus::TextSerializer().Serialize(registry_.Collect());
}

void PrometheusMetrics::OnBatch(const BatchRecord& record) {
  batches_.Increment();
  steps_.Increment(record.num_steps_completed);
  tokens_.Increment(static_cast<double>(record.num_tokens));
  batch_sessions_.Observe(record.num_sessions);
  batch_tokens_.Observe(static_cast<double>(record.num_tokens));
  forward_.Observe(ToSeconds(record.forward));
  fired_[static_cast<std::size_t>(record.fire_reason)]->Increment();
}

void PrometheusMetrics::OnStep(const StepRecord& record) {
  queue_wait_.Observe(ToSeconds(record.queue_wait));
  step_latency_.Observe(ToSeconds(record.latency));
  if (record.was_rebuilt) rebuilt_.Increment();
  if (record.was_repeated) repeated_.Increment();
}

void PrometheusMetrics::OnError(absl::string_view reason) {
  const std::string label(reason.empty() ? "OTHER" : reason);
  MutexLock lock(&mu_);
  Counter*& counter = errors_by_reason_[label];
  if (counter == nullptr) counter = &errors_.Add({{"reason", label}});
  counter->Increment();
}

void PrometheusMetrics::OnForwardError(absl::string_view error_id,
                                       const absl::Status& status) {
  forward_errors_.Increment();
  Log(LogLevel::kError, "a forward pass failed",
      {{"error_id", std::string(error_id)},
       {"error", std::string(status.message())}});
}

void PrometheusMetrics::OnExpiry(std::int64_t num_sessions,
                                 absl::string_view actor_id) {
  Log(LogLevel::kInfo, "idle sessions ended",
      {{"sessions", absl::StrCat(num_sessions)},
       {"first", std::string(actor_id)}});
}

void PrometheusMetrics::OnSessionEnd(SessionEnd end) {
  session_ends_[static_cast<std::size_t>(end)]->Increment();
}

void PrometheusMetrics::OnTrajectories(std::int64_t num_sent,
                                       std::int64_t num_dropped) {
  trajectories_sent_.Increment(static_cast<double>(num_sent));
  trajectories_dropped_.Increment(static_cast<double>(num_dropped));
}

void PrometheusMetrics::OnTrajectoryReaders(std::int64_t num_readers) {
  trajectory_readers_.Set(static_cast<double>(num_readers));
}

void PrometheusMetrics::OnRollOut(std::uint64_t stable,
                                  absl::Duration duration) {
  rollout_.Observe(absl::ToDoubleSeconds(duration));
  model_version_.Set(static_cast<double>(stable));
}

void PrometheusMetrics::OnChangeRefused(absl::string_view reason) {
  refused_.Add({{"reason", std::string(reason.empty() ? "OTHER" : reason)}})
      .Increment();
}

void PrometheusMetrics::OnLoadedVersions(
    const std::vector<LoadedVersion>& versions) {
  absl::flat_hash_map<std::uint64_t, Gauge*> loaded;
  for (const LoadedVersion& version : versions) {
    Gauge& gauge =
        version_sessions_.Add({{"version", absl::StrCat(version.version)}});
    gauge.Set(static_cast<double>(version.num_sessions));
    loaded[version.version] = &gauge;
  }
  for (const auto& [version, gauge] : loaded_versions_) {
    if (!loaded.contains(version)) version_sessions_.Remove(gauge);
  }
  loaded_versions_ = std::move(loaded);
}

const PrometheusMetrics::ExecutorSeries& PrometheusMetrics::SeriesOf(
    int executor) {
  while (static_cast<int>(executors_.size()) <= executor) {
    const prometheus::Labels labels = {
        {"executor", absl::StrCat(executors_.size())}};
    executors_.push_back({&sessions_.Add(labels), &blocks_used_.Add(labels),
                          &blocks_.Add(labels), &queued_.Add(labels)});
  }
  return executors_[static_cast<std::size_t>(executor)];
}

void PrometheusMetrics::OnGauges(int executor, const ExecutorGauges& gauges) {
  MutexLock lock(&mu_);
  const ExecutorSeries& series = SeriesOf(executor);
  series.sessions->Set(static_cast<double>(gauges.num_sessions));
  series.blocks_used->Set(static_cast<double>(gauges.num_blocks_used));
  series.blocks->Set(static_cast<double>(gauges.num_blocks));
  series.queued->Set(static_cast<double>(gauges.num_queued));
}

// The log tells when it begins and when it ends, not every failure.
void PrometheusMetrics::OnJournalCall(JournalCall call,
                                      MonotonicDuration duration,
                                      const absl::Status& status) {
  const auto index = static_cast<std::size_t>(call);
  journal_seconds_[index]->Observe(ToSeconds(duration));
  if (!status.ok()) journal_errors_[index]->Increment();
  // One damaged session is no failure of the journal.
  if (absl::IsDataLoss(status)) {
    Log(LogLevel::kError, "the journal has a damaged session",
        {{"error", std::string(status.message())}});
    return;
  }
  if (is_journal_failing_.exchange(!status.ok()) == !status.ok()) return;
  if (status.ok()) {
    Log(LogLevel::kInfo, "the journal works again");
  } else {
    Log(LogLevel::kError, "the journal fails",
        {{"error", std::string(status.message())}});
  }
}

void PrometheusMetrics::OnJournalExpired(int num_sessions) {
  journal_expired_.Increment(num_sessions);
  Log(LogLevel::kInfo, "sessions expired in the journal",
      {{"sessions", absl::StrCat(num_sessions)}});
}

void PrometheusMetrics::OnJournalDegraded(bool is_degraded,
                                          const absl::Status& cause) {
  is_journal_degraded_ = is_degraded;
  journal_degraded_.Set(is_degraded ? 1 : 0);
  if (is_degraded) {
    Log(LogLevel::kError, "degraded: steps are not journalled",
        {{"error", std::string(cause.message())}});
  } else {
    Log(LogLevel::kInfo, "steps are journalled again");
  }
}

}  // namespace

std::unique_ptr<Metrics> Metrics::Create() {
  return std::make_unique<PrometheusMetrics>();
}

}  // namespace stepd
