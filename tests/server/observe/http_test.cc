// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/observe/http.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/observe/metrics.h"

namespace stepd {
namespace {

using ::testing::HasSubstr;

class HttpTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server = HttpServer::Start("127.0.0.1:0", metrics_.get());
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  httplib::Result Get(const char* path) {
    return httplib::Client("127.0.0.1", server_->port()).Get(path);
  }

  const std::unique_ptr<Metrics> metrics_ = Metrics::Create();
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpTest, ShowsMetrics) {
  metrics_->OnBatch({});

  const auto response = Get("/metrics");

  ASSERT_TRUE(response);
  EXPECT_EQ(response->status, 200);
  EXPECT_THAT(response->get_header_value("Content-Type"),
              HasSubstr("text/plain; version=0.0.4"));
  EXPECT_THAT(response->body, HasSubstr("\nstepd_batches_total 1\n"));
}

TEST_F(HttpTest, IsHealthyFromTheStart) {
  const auto response = Get("/healthz");

  ASSERT_TRUE(response);
  EXPECT_EQ(response->status, 200);
}

TEST_F(HttpTest, IsReadyOnlyWhileItServes) {
  const auto loading = Get("/readyz");
  server_->SetReadiness(Readiness::kReady);
  const auto ready = Get("/readyz");
  server_->SetReadiness(Readiness::kDraining);
  const auto draining = Get("/readyz");

  ASSERT_TRUE(loading && ready && draining);
  EXPECT_EQ(loading->status, 503);
  EXPECT_EQ(loading->body, "loading\n");
  EXPECT_EQ(ready->status, 200);
  EXPECT_EQ(draining->status, 503);
  EXPECT_EQ(draining->body, "draining\n");
}

TEST_F(HttpTest, IsReadyWithADegradedJournalAndSaysSo) {
  server_->SetReadiness(Readiness::kReady);
  metrics_->OnJournalDegraded(true, absl::UnavailableError("disk full"));
  const auto degraded = Get("/readyz");
  metrics_->OnJournalDegraded(false, absl::OkStatus());
  const auto ready = Get("/readyz");

  ASSERT_TRUE(degraded && ready);
  EXPECT_EQ(degraded->status, 200);
  EXPECT_EQ(degraded->body, "ready, journal degraded\n");
  EXPECT_EQ(ready->body, "ready\n");
}

TEST_F(HttpTest, HasNothingElse) {
  const auto response = Get("/");

  ASSERT_TRUE(response);
  EXPECT_EQ(response->status, 404);
}

TEST_F(HttpTest, RefusesAPortInUse) {
  const auto second = HttpServer::Start(
      absl::StrCat("127.0.0.1:", server_->port()), metrics_.get());

  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
}

TEST(Http, RefusesWhatIsNoAddress) {
  const std::unique_ptr<Metrics> metrics = Metrics::Create();

  for (const char* address : {"", "localhost", "127.0.0.1:", "127.0.0.1:x",
                              "127.0.0.1:70000", "127.0.0.1:-1"}) {
    EXPECT_EQ(HttpServer::Start(address, metrics.get()).status().code(),
              absl::StatusCode::kInvalidArgument)
        << address;
  }
}

}  // namespace
}  // namespace stepd
