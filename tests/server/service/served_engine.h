// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The service over a fake engine, behind a real server on a free port.

#ifndef STEPD_TESTS_SERVER_SERVICE_SERVED_ENGINE_H_
#define STEPD_TESTS_SERVER_SERVICE_SERVED_ENGINE_H_

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "proto/stepd/v1/policy_service.grpc.pb.h"
#include "server/service/policy_service.h"
#include "server/service/server.h"
#include "tests/fakes/recording_observer.h"
#include "tests/server/service/fake_engine.h"
#include "tests/server/service/wire.h"

namespace stepd {

class ServedEngine {
 public:
  explicit ServedEngine(const PolicyServiceOptions& options = {},
                        const FakePolicyOptions& policy = {})
      : engine_(policy),
        service_(PolicyService::Create(&engine_, options, &observer_)) {
    ServerOptions server;
    server.address = "127.0.0.1:0";
    server.max_message_bytes = 1 << 20;
    auto started = Server::Start(server, {service_.get()});
    EXPECT_TRUE(started.ok()) << started.status();
    server_ = *std::move(started);
    channel_ = grpc::CreateChannel(absl::StrCat("127.0.0.1:", server_->port()),
                                   grpc::InsecureChannelCredentials());
    stub_ = v1::PolicyService::NewStub(channel_);
  }
  ServedEngine(const ServedEngine&) = delete;
  ServedEngine& operator=(const ServedEngine&) = delete;
  // Every task must have been completed: this waits for the calls.
  ~ServedEngine() { server_->Shutdown(absl::InfiniteDuration()); }

  FakeEngine& engine() { return engine_; }
  PolicyService& service() { return *service_; }
  Server& server() { return *server_; }
  std::shared_ptr<grpc::Channel> channel() { return channel_; }
  v1::PolicyService::Stub& stub() { return *stub_; }
  RecordingObserver& observer() { return observer_; }

 private:
  RecordingObserver observer_;
  FakeEngine engine_;
  std::unique_ptr<PolicyService> service_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::PolicyService::Stub> stub_;
};

// One step {x} of the fake policy.
inline v1::StepRequest FakeRequest(const std::string& actor, std::int64_t x) {
  v1::StepRequest request;
  request.set_actor_id(actor);
  *request.add_inputs() = Int64s("x", {1}, {x});
  return request;
}

}  // namespace stepd

#endif  // STEPD_TESTS_SERVER_SERVICE_SERVED_ENGINE_H_
