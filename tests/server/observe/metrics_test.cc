// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/observe/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_split.h"

namespace stepd {
namespace {

using std::chrono::milliseconds;
using ::testing::Contains;
using ::testing::HasSubstr;

std::vector<std::string> Lines(const Metrics& metrics) {
  return absl::StrSplit(metrics.Text(), '\n');
}

TEST(Metrics, CountsBatches) {
  const std::unique_ptr<Metrics> metrics = Metrics::Create();
  BatchRecord batch;
  batch.fire_reason = FireReason::kFull;
  batch.num_sessions = 3;
  batch.num_tokens = 12;
  batch.num_steps_completed = 4;
  batch.forward = milliseconds(2);

  metrics->OnBatch(batch);
  metrics->OnBatch(batch);

  const std::vector<std::string> lines = Lines(*metrics);
  EXPECT_THAT(lines, Contains("stepd_batches_total 2"));
  EXPECT_THAT(lines, Contains("stepd_steps_total 8"));
  EXPECT_THAT(lines, Contains("stepd_tokens_total 24"));
  EXPECT_THAT(lines, Contains("stepd_batch_sessions_sum 6"));
  EXPECT_THAT(lines, Contains("stepd_batch_sessions_bucket{le=\"2\"} 0"));
  EXPECT_THAT(lines, Contains("stepd_batch_sessions_bucket{le=\"4\"} 2"));
  EXPECT_THAT(lines, Contains("stepd_batch_tokens_count 2"));
  EXPECT_THAT(lines, Contains("stepd_forward_seconds_sum 0.004"));
  EXPECT_THAT(lines, Contains("stepd_batches_fired_total{reason=\"full\"} 2"));
  EXPECT_THAT(lines, Contains("stepd_batches_fired_total{reason=\"idle\"} 0"));
}

TEST(Metrics, TimesSteps) {
  const std::unique_ptr<Metrics> metrics = Metrics::Create();
  StepRecord step;
  step.queue_wait = milliseconds(1);
  step.latency = milliseconds(4);
  step.was_rebuilt = true;

  metrics->OnStep(step);

  const std::vector<std::string> lines = Lines(*metrics);
  EXPECT_THAT(lines, Contains("stepd_queue_wait_seconds_sum 0.001"));
  EXPECT_THAT(lines, Contains("stepd_step_latency_seconds_sum 0.004"));
  EXPECT_THAT(lines,
              Contains("stepd_step_latency_seconds_bucket{le=\"0.002\"} 0"));
  EXPECT_THAT(lines,
              Contains("stepd_step_latency_seconds_bucket{le=\"0.005\"} 1"));
  EXPECT_THAT(lines, Contains("stepd_rebuilt_calls_total 1"));
}

TEST(Metrics, CountsErrorsByReason) {
  const std::unique_ptr<Metrics> metrics = Metrics::Create();

  metrics->OnError("FIELD_RANGE");
  metrics->OnError("FIELD_RANGE");
  metrics->OnError("");

  const std::vector<std::string> lines = Lines(*metrics);
  EXPECT_THAT(lines, Contains("stepd_errors_total{reason=\"FIELD_RANGE\"} 2"));
  EXPECT_THAT(lines, Contains("stepd_errors_total{reason=\"OTHER\"} 1"));
}

TEST(Metrics, CountsFailedForwardsAndSessionEnds) {
  const std::unique_ptr<Metrics> metrics = Metrics::Create();

  metrics->OnForwardError("f-1", absl::InternalError("told to fail"));
  metrics->OnSessionEnd(SessionEnd::kExpired);

  const std::vector<std::string> lines = Lines(*metrics);
  EXPECT_THAT(lines, Contains("stepd_forward_errors_total 1"));
  EXPECT_THAT(lines, Contains("stepd_session_ends_total{end=\"expired\"} 1"));
}

TEST(Metrics, ShowsTheLastGaugesOfEachExecutor) {
  const std::unique_ptr<Metrics> metrics = Metrics::Create();

  metrics->OnGauges(1, {5, 6, 7, 8});
  metrics->OnGauges(1, {1, 2, 3, 4});

  const std::vector<std::string> lines = Lines(*metrics);
  EXPECT_THAT(lines, Contains("stepd_sessions{executor=\"1\"} 1"));
  EXPECT_THAT(lines, Contains("stepd_kv_blocks_used{executor=\"1\"} 2"));
  EXPECT_THAT(lines, Contains("stepd_kv_blocks{executor=\"1\"} 3"));
  EXPECT_THAT(lines, Contains("stepd_queued_calls{executor=\"1\"} 4"));
  EXPECT_THAT(lines, Contains("stepd_sessions{executor=\"0\"} 0"));
}

TEST(Metrics, SaysWhatIsServed) {
  const std::unique_ptr<Metrics> metrics = Metrics::Create();
  PolicySpec spec;
  spec.device = "cpu";
  spec.dtype = "float32";
  spec.weight_bytes = 100;

  metrics->SetPolicy("cartpole", 3, spec);

  const std::string text = metrics->Text();
  EXPECT_THAT(text, HasSubstr("name=\"cartpole\""));
  EXPECT_THAT(Lines(*metrics), Contains("stepd_model_version 3"));
  EXPECT_THAT(Lines(*metrics), Contains("stepd_policy_weight_bytes 100"));
  EXPECT_THAT(text, HasSubstr("stepd_build_info{version="));
  EXPECT_THAT(text, HasSubstr("stepd_uptime_seconds "));
}

TEST(Metrics, TellsTheVersionsInMemory) {
  const std::unique_ptr<Metrics> metrics = Metrics::Create();
  metrics->OnLoadedVersions({{3, 5}, {4, 1}});
  metrics->OnRollOut(4, absl::Milliseconds(3));
  metrics->OnChangeRefused("WEIGHTS");
  metrics->OnLoadedVersions({{4, 6}});

  const std::vector<std::string> lines = Lines(*metrics);
  EXPECT_THAT(lines, Contains("stepd_model_version 4"));
  EXPECT_THAT(lines, Contains("stepd_version_sessions{version=\"4\"} 6"));
  EXPECT_THAT(metrics->Text(), Not(HasSubstr("version=\"3\"")));
  EXPECT_THAT(lines, Contains("stepd_rollout_seconds_count 1"));
  EXPECT_THAT(lines,
              Contains("stepd_weights_refused_total{reason=\"WEIGHTS\"} 1"));
}

TEST(Metrics, CountsWhatReadersGotAndMissed) {
  const std::unique_ptr<Metrics> metrics = Metrics::Create();
  metrics->OnTrajectoryReaders(2);
  metrics->OnTrajectories(5, 0);
  metrics->OnTrajectories(4, 3);

  const std::vector<std::string> lines = Lines(*metrics);
  EXPECT_THAT(lines, Contains("stepd_trajectory_readers 2"));
  EXPECT_THAT(lines, Contains("stepd_trajectory_steps_total 9"));
  EXPECT_THAT(lines, Contains("stepd_trajectory_dropped_steps_total 3"));
}

TEST(Metrics, CountsFromManyThreads) {
  const std::unique_ptr<Metrics> metrics = Metrics::Create();
  std::vector<std::thread> threads;

  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&metrics, i] {
      for (int k = 0; k < 1000; ++k) {
        metrics->OnBatch({});
        metrics->OnError("LIMIT");
        metrics->OnGauges(i, {1, 1, 1, 1});
      }
    });
  }
  for (std::thread& thread : threads) thread.join();

  EXPECT_THAT(Lines(*metrics), Contains("stepd_batches_total 4000"));
  EXPECT_THAT(Lines(*metrics),
              Contains("stepd_errors_total{reason=\"LIMIT\"} 4000"));
}

TEST(Metrics, TimesTheJournalsCallsAndCountsTheirErrors) {
  const std::unique_ptr<Metrics> metrics = Metrics::Create();

  metrics->OnJournalCall(JournalCall::kAppend, milliseconds(2),
                         absl::OkStatus());
  metrics->OnJournalCall(JournalCall::kAppend, milliseconds(2),
                         absl::UnavailableError("disk full"));
  metrics->OnJournalExpired(3);

  const std::vector<std::string> lines = Lines(*metrics);
  EXPECT_THAT(lines,
              Contains("stepd_journal_seconds_count{call=\"append\"} 2"));
  EXPECT_THAT(lines,
              Contains("stepd_journal_seconds_sum{call=\"append\"} 0.004"));
  EXPECT_THAT(lines, Contains("stepd_journal_seconds_count{call=\"read\"} 0"));
  EXPECT_THAT(lines, Contains("stepd_journal_errors_total{call=\"append\"} 1"));
  EXPECT_THAT(lines, Contains("stepd_journal_expired_sessions_total 3"));
}

TEST(Metrics, TellWhetherTheJournalIsDegraded) {
  const std::unique_ptr<Metrics> metrics = Metrics::Create();
  EXPECT_THAT(Lines(*metrics), Contains("stepd_journal_degraded 0"));

  metrics->OnJournalDegraded(true, absl::UnavailableError("disk full"));

  EXPECT_THAT(Lines(*metrics), Contains("stepd_journal_degraded 1"));
  EXPECT_TRUE(metrics->is_journal_degraded());
}

}  // namespace
}  // namespace stepd
